//! One digest over a whole tree of files: names, types, modes, owners, times, xattrs, link targets, contents.

use std::path::Path;
use std::process::Command;

/// Prints the digest of the tree below its argument. Runs in containers and on the host alike. `/proc`, `/sys` and
/// `/dev` are the runtime's; sizes and link counts of directories are the file system's.
pub(crate) const SCRIPT: &str = "
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
digest = hashlib.sha256()
def visit(path, name):
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    fields = [name, b'%o %d %d %d %d' % (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_rdev)]
    names = sorted(x for x in os.listxattr(path, follow_symlinks=False) if not x.startswith('trusted.'))
    for x in names:
        fields += [os.fsencode(x), os.getxattr(path, x, follow_symlinks=False)]
    if kind == stat.S_IFREG:
        fields.append(b'%d %d' % (info.st_size, info.st_nlink))
        with open(path, 'rb') as file:
            fields.append(hashlib.file_digest(file, 'sha256').digest())
    elif kind == stat.S_IFLNK:
        fields.append(os.readlink(path))
    for field in fields:
        digest.update(b'%d:' % len(field) + field)
    if kind == stat.S_IFDIR:
        for child in sorted(os.listdir(path)):
            if (name, child) not in ((b'/', b'proc'), (b'/', b'sys'), (b'/', b'dev')):
                visit(os.path.join(path, child), name.rstrip(b'/') + b'/' + child)
visit(root, b'/')
print(digest.hexdigest())
";

/// The digest of the tree that `umoci unpack` makes of an OCI layout's image.
pub(crate) fn of_umoci_unpack(image: &str, dir: &Path) -> String {
    let bundle = dir.join("umoci");
    let unpacked = Command::new("umoci").args(["unpack", "--image", image]).arg(&bundle).output();
    let unpacked = unpacked.expect("umoci (Debian's package: run `cargo xtask test`)");
    assert!(unpacked.status.success(), "umoci: {}", String::from_utf8_lossy(&unpacked.stderr));
    of_directory(&bundle.join("rootfs"))
}

/// The digest of the tree below `root`.
pub(crate) fn of_directory(root: &Path) -> String {
    let output = Command::new("python3").args(["-c", SCRIPT]).arg(root).output().expect("python3");
    assert!(output.status.success(), "python3: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a digest").trim().to_owned()
}
