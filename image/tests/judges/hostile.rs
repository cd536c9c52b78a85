//! Archives made to do harm, written by Python's tarfile: an error that names layer and entry, and nothing left.

use std::fs;

use ft_image::source::OpenOptions;
use tempfile::TempDir;

use crate::tools::{convert_with, sh};

/// Converts what a Python script writes to the tar file `t`; the error, after the layer's name.
fn refused(script: &str) -> String {
    let dir = TempDir::new().unwrap();
    fs::write(
        dir.path().join("make.py"),
        format!(
            "import io, tarfile\n\
             t = tarfile.open('hostile.tar', 'w')\n\
             def add(name, kind=tarfile.REGTYPE, data=b'', **fields):\n    \
                 info = tarfile.TarInfo(name); info.type = kind; info.size = len(data)\n    \
                 for key, value in fields.items(): setattr(info, key, value)\n    \
                 t.addfile(info, io.BytesIO(data))\n\
             {script}\n\
             t.close()\n"
        ),
    )
    .unwrap();
    sh(dir.path(), "python3 make.py");
    let work = TempDir::new().unwrap();
    let path = dir.path().join("hostile.tar");
    let error = convert_with(&format!("tar:{}", path.display()), OpenOptions::default(), work.path());
    let error = error.unwrap_err().to_string();
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0, "{error}: something is left");
    let layer = format!("layer {}, ", path.display());
    error.strip_prefix(&layer).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn paths_that_leave_the_image() {
    assert_eq!(refused("add('a'); add('../b')"), "entry ../b: its path contains '..'");
    assert_eq!(refused("add('d/../../b')"), "entry d/../../b: its path contains '..'");
    let link = refused("add('l', tarfile.LNKTYPE, linkname='../../etc/shadow')");
    assert_eq!(link, "entry l: its hard link's target contains '..'");
}

#[test]
fn paths_through_links_and_files() {
    for first in ["tarfile.SYMTYPE, linkname='/etc'", "tarfile.SYMTYPE, linkname='.'", "data=b'x'"] {
        let error = refused(&format!("add('x', {first}); add('x/passwd', data=b'evil')"));
        assert!(error.starts_with("entry x/passwd: "), "{error}");
    }
    let link = refused(
        "add('s', tarfile.SYMTYPE, linkname='/'); add('h', tarfile.LNKTYPE, linkname='s/etc/passwd')",
    );
    assert!(link.starts_with("entry h: "), "{link}");
    let missing = refused("add('h', tarfile.LNKTYPE, linkname='etc/passwd')");
    assert!(missing.starts_with("entry h: "), "{missing}");
    let directory = refused("add('d', tarfile.DIRTYPE); add('h', tarfile.LNKTYPE, linkname='d')");
    assert!(directory.starts_with("entry h: "), "{directory}");
}

#[test]
fn claims_of_ten_terabytes() {
    let header = "info = tarfile.TarInfo('huge'); info.size = 10 << 40; t.fileobj.write(info.tobuf())";
    assert!(refused(header).starts_with("entry huge: "));
    // Holes are free, wherever the data between them is: such a file is taken, what comes after it is not.
    for map in ["0,1", "0,1,5497558138880,1,10995116277759,1"] {
        let sparse = format!(
            "add('huge', data=b'x' * ({count} // 2), pax_headers={{'GNU.sparse.size': str(10 << 40), \
             'GNU.sparse.numblocks': '{blocks}', 'GNU.sparse.map': '{map}'}}); add('..')",
            count = map.split(',').count(),
            blocks = map.split(',').count() / 2,
        );
        assert!(refused(&sparse).starts_with("entry ..: "));
    }
    let overlapping = "add('huge', data=b'xx', pax_headers={'GNU.sparse.size': '9', \
                       'GNU.sparse.numblocks': '2', 'GNU.sparse.map': '5,1,4,1'})";
    assert!(refused(overlapping).starts_with("entry huge: its map of holes is wrong"));
}

#[test]
fn names_that_linux_cannot_have() {
    assert!(refused("add('n' * 256)").contains("a name of more than 255 bytes"));
    assert!(refused("add('d/' * 2100 + 'x')").contains("more than 4096 bytes"));
    assert!(refused("add('s', tarfile.SYMTYPE, linkname='x' * 5000)").contains("more than 4095 bytes"));
    assert!(refused("add('s', tarfile.SYMTYPE, linkname='')").contains("is empty"));
}
