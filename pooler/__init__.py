"""pooler: copies very many files over FTP and FTPS on the word of a Kafka topic.

Start reading at `pooler.app`: it holds the nursery tree. ARCHITECTURE.md has the map.
"""
