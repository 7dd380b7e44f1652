"""Records in, records out: Kafka or a file of jobs, the ledger of offsets, and nothing about FTP."""
