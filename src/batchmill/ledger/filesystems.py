"""Which file systems cannot hold a home: those shared over a network, where locks and memory maps are not kept."""

from __future__ import annotations

import re
from pathlib import Path

from batchmill.errors import HomeError

_NETWORK = re.compile(
    r"9p|afs|beegfs\w*|ceph|cephfs|cifs|coda|cvmfs|davfs|fhgfs|gfs2?|glusterfs|gpfs|lustre|mfs|moosefs|ncpfs|nfs\d?"
    r"|ocfs2|orangefs|panfs|pvfs2|smb\w*|vboxsf|virtiofs|wekafs"
)
_NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|rclone|s3fs|gcsfuse|glusterfs|ceph|ceph-fuse|mfs|juicefs|davfs2?|curlftpfs|smbnetfs|beegfs|goofys"
    r"|blobfuse2?|lustre|nfs.*|vmhgfs-fuse)"
)
_MOUNTS = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, from the text of mountinfo (proc(5)); empty when unknown."""
    found, kind = "", ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        # octal escapes: a space is \040; a later mount on the same point hides the earlier one
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if path.is_relative_to(point) and len(point) >= len(found):
            found, kind = point, after.split(" ")[0]
    return kind


def is_network(kind: str) -> bool:
    """Whether a type of file system is shared over a network."""
    return (_NETWORK.fullmatch(kind) or _NETWORK_FUSE.fullmatch(kind)) is not None


def refuse_network(folder: Path, mounts: str | None = None) -> None:
    """Raises HomeError when `folder` (which need not exist) would lie on a network file system."""
    if mounts is None:
        if not _MOUNTS.exists():  # not Linux: nothing is known
            return
        mounts = _MOUNTS.read_text("utf-8", "replace")
    kind = file_system_of(folder.resolve(), mounts)
    if is_network(kind):
        raise HomeError(
            f"the home `{folder}` is on a network file system (`{kind}`), where a ledger is not safe",
            hint="choose a folder on a local disk: `--home DIR` or `BATCHMILL_HOME`",
            code="home/network",
        )
