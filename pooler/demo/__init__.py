"""The whole service on made-up files, with its own broker and FTP servers: START in `pooler.demo.story`."""
