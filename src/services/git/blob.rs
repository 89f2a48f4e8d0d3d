//! git's blob name of a file, computed here: it tells whether a file that metawsm wrote is still as written,
//! and neither needs a repository nor starts a process per file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Git, GitError};

/// The blob name (40 hex digits, SHA-1) of what is at `path`, as `git hash-object --no-filters` prints it; of a
/// symbolic link it is the name of its target's path, as git stores it.
///
/// # Errors
/// The operating system's, when it cannot be read; [`io::ErrorKind::InvalidInput`] when it is neither a regular
/// file nor a symbolic link.
pub fn blob_of(path: &Path) -> io::Result<String> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        return Ok(blob_of_bytes(fs::read_link(path)?.as_os_str().as_bytes()));
    }
    if !kind.is_file() {
        // A FIFO would be waited on for ever.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a regular file nor a symbolic link"));
    }
    fs::read(path).map(|bytes| blob_of_bytes(&bytes))
}

impl Git {
    /// The blob name of a file in the last commit, if it is there.
    ///
    /// # Errors
    /// [`GitError`] when git cannot be asked.
    pub fn blob_in_head(&self, worktree: &Path, path: &Path) -> Result<Option<String>, GitError> {
        let mut object = OsString::from("HEAD:");
        object.push(path);
        let call = self.read(worktree).args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        let (output, tried) = call.arg(object).output()?;
        match output.status {
            Some(0) => Ok(Some(output.text().trim_end().to_owned())),
            Some(1) => Ok(None),
            Some(128) if output.stderr.is_empty() => Ok(None),
            _ => Err(super::call::refused(tried, worktree.to_path_buf(), &output)),
        }
    }
}

/// The blob name of these bytes.
pub fn blob_of_bytes(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    let mut whole = Vec::with_capacity(header.len() + bytes.len() + 72);
    whole.extend_from_slice(header.as_bytes());
    whole.extend_from_slice(bytes);
    sha1(whole).iter().map(|word| format!("{word:08x}")).collect()
}

/// SHA-1 of a message, as five words. For naming, not for security.
fn sha1(mut message: Vec<u8>) -> [u32; 5] {
    let bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&bits.to_be_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in message.chunks_exact(64) {
        sha1_block(&mut state, block);
    }
    state
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte));
    }
    for i in 16..80 {
        words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (i, word) in words.iter().enumerate() {
        let (mix, constant) = match i {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc_u32),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_git() {
        assert_eq!(blob_of_bytes(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_of_bytes(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
