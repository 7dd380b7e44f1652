"""An FTP client on Trio (RFC 959 and its extensions); of the project it uses only errors and Peer."""
