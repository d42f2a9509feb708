//! A first look at a file of a journal: whose it is, or why it can't be used.

use std::io;
use std::sync::Arc;

use super::super::header::{FileHeader, HEADER_BYTES, HeaderError};
use super::super::media::{Folder, MediumFile, lies_with_file};

/// What a file of frames begins with.
pub(super) enum Looked {
    Headed(FileHeader, Arc<dyn MediumFile>, Vec<u8>),
    /// It was being made when the process ended, and holds nothing yet.
    Blank,
    Headless(HeaderError),
}

pub(super) fn look(folder: &dyn Folder, name: &str) -> io::Result<Looked> {
    let file = folder.open(name)?;
    let mut block = vec![0; HEADER_BYTES];
    file.read_at(&mut block, 0)?;
    Ok(match FileHeader::parse(&block) {
        Ok(header) => Looked::Headed(header, file, block),
        Err(_) if block.iter().all(|byte| *byte == 0) && is_blank(&*file)? => Looked::Blank,
        Err(error) => Looked::Headless(error),
    })
}

/// Whether a file is damage because of an error. The folder belongs to this user, so that a file
/// in it that may not be read is damage as well.
pub(super) fn is_unusable(error: &io::Error) -> bool {
    lies_with_file(error) || error.kind() == io::ErrorKind::PermissionDenied
}

pub(super) fn unreadable(error: &io::Error) -> String {
    format!("it can't be read: {error}")
}

fn is_blank(file: &dyn MediumFile) -> io::Result<bool> {
    let mut buf = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut buf, at)?;
        if buf[..got].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if got < buf.len() {
            return Ok(true);
        }
        at += got as u64;
    }
}
