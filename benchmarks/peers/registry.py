"""Who takes part, by name."""

from collections.abc import Mapping

from benchmarks.peers import aioftp_client, curl, lftp, ours, rclone
from benchmarks.peers.bare import bare
from benchmarks.peers.peer import Peer

_ALL = (
    Peer("bare loop", bare("process"), tls=False),
    Peer("bare loop, splice or sendfile", bare("kernel"), tls=False),
    Peer("lftp", lftp.mirror, starts_slowly=False),
    Peer("lftp, a queue", lftp.queue, starts_slowly=False),
    # With many at once it fails where vsftpd wants TLS sessions resumed, and copies where that is turned off.
    Peer("curl", curl.copy, starts_slowly=False, tls=False),
    Peer("rclone", rclone.copy, share=0.5, starts_slowly=False),
    # aioftp resumes no TLS session.
    Peer("aioftp", aioftp_client.copy, share=0.25, starts_slowly=False, tls=False),
    Peer("pooler copy", ours.pooler_copy("never")),
    Peer("pooler copy, batch flush", ours.pooler_copy("batch")),
    Peer("pooler copy, a flush for each", ours.pooler_copy("always")),
    Peer("service", ours.service("never"), starts_slowly=False),
    Peer("service, batch flush", ours.service("batch"), starts_slowly=False),
)
PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
BARE = ("bare loop", "bare loop, splice or sendfile")
OTHERS = ("lftp", "curl", "rclone", "aioftp")
EVERYBODY = tuple(PEERS)
