//! Reads a log across its files, `stdout.2`, `stdout.1`, `stdout`, and stays with it when they are
//! rotated: a file is known by its inode, not by its name.

use super::answer::{PIECE_BYTES, read_piece};
use crate::effects::containers::Live;
use crate::sandbox::Directory;
use bytes::Bytes;
use futures_util::Stream;
use proffer_types::ids::ContainerId;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rotated files that are looked for; a log policy keeps few.
const FILES_MAX: u32 = 64;
/// How soon new output is seen. Looking costs one `read`; only what is followed is looked at.
const POLL: Duration = Duration::from_millis(150);

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// At this byte of all that is kept.
    Offset(u64),
    /// Before the last so many lines.
    LastLines(u64),
}

/// A reader of one log.
pub(super) struct Follower {
    sandbox: PathBuf,
    stream: &'static str,
    /// What is left to read, oldest first; the last one is the newest known.
    files: std::collections::VecDeque<File>,
    newest: Option<u64>,
}

impl Follower {
    /// Opens what is there. A container without output yet is an empty log.
    pub(super) fn open(sandbox: &Path, stream: &'static str, start: Start) -> io::Result<Self> {
        let mut files = open_files(sandbox, stream)?;
        let newest = files.last().map(inode).transpose()?;
        match start {
            Start::Offset(offset) => skip(&mut files, offset)?,
            Start::LastLines(lines) => skip_to_last_lines(&mut files, lines)?,
        }
        Ok(Self { sandbox: sandbox.to_owned(), stream, files: files.into(), newest })
    }

    /// The text, piece by piece; with `live` until that container has ended and all is read.
    pub(super) fn pieces(
        self,
        live: Option<(Live, ContainerId)>,
    ) -> impl Stream<Item = io::Result<Bytes>> {
        futures_util::stream::try_unfold((self, live), |(mut follower, live)| async move {
            let piece = follower.next(live.as_ref()).await?;
            Ok(piece.map(|piece| (piece, (follower, live))))
        })
    }

    async fn next(&mut self, live: Option<&(Live, ContainerId)>) -> io::Result<Option<Bytes>> {
        loop {
            // Asked before reading: what is written before the end is then surely read.
            let goes_on = live.is_some_and(|(live, container)| live.contains(container));
            if let Some(piece) = self.read().await? {
                return Ok(Some(piece));
            }
            if self.look_for_newer().await? {
                continue;
            }
            if !goes_on {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Reads on; the newest file stays open at its end.
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(file) = self.files.pop_front() {
            let (file, piece) = read_piece(file).await?;
            if !piece.is_empty() {
                self.files.push_front(file);
                return Ok(Some(piece));
            }
            if self.files.is_empty() {
                self.files.push_front(file);
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Finds files that are newer than the one just read to its end.
    async fn look_for_newer(&mut self) -> io::Result<bool> {
        let (sandbox, stream) = (self.sandbox.clone(), self.stream);
        let open = move || open_files(&sandbox, stream);
        let files = tokio::task::spawn_blocking(open).await.map_err(io::Error::other)??;
        let inodes = files.iter().map(inode).collect::<io::Result<Vec<u64>>>()?;
        let known = inodes.iter().position(|inode| Some(*inode) == self.newest);
        // One that was rotated away entirely: go on with the oldest that is left.
        let from = known.map_or(0, |known| known + 1);
        let newer: Vec<File> = files.into_iter().skip(from).collect();
        if newer.is_empty() {
            return Ok(false);
        }
        self.newest = inodes.last().copied();
        // What was written to our file between its end and its rotation is still in it.
        self.files.extend(newer);
        Ok(true)
    }
}

/// All files of a stream, oldest first.
fn open_files(sandbox: &Path, stream: &str) -> io::Result<Vec<File>> {
    let directory = Directory::open(sandbox)?;
    let mut files = Vec::new();
    for number in 0..FILES_MAX {
        let name = if number == 0 { stream.to_owned() } else { format!("{stream}.{number}") };
        match directory.file(&name) {
            Ok(file) => files.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    files.reverse();
    Ok(files)
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

fn skip(files: &mut Vec<File>, mut offset: u64) -> io::Result<()> {
    let mut first = 0;
    for (index, file) in files.iter_mut().enumerate() {
        first = index;
        let length = file.metadata()?.len();
        if offset < length {
            file.seek(SeekFrom::Start(offset))?;
            break;
        }
        file.seek(SeekFrom::End(0))?;
        offset -= length;
    }
    files.drain(..first);
    Ok(())
}

/// Searches backwards for the line breaks, piece by piece.
fn skip_to_last_lines(files: &mut Vec<File>, lines: u64) -> io::Result<()> {
    // The break at the very end ends the last line and begins none.
    let mut breaks = 0;
    let mut at_end = true;
    for index in (0..files.len()).rev() {
        let mut end = files[index].metadata()?.len();
        while end > 0 {
            let from = end.saturating_sub(PIECE_BYTES as u64);
            files[index].seek(SeekFrom::Start(from))?;
            let mut piece = vec![0; usize::try_from(end - from).unwrap_or(PIECE_BYTES)];
            files[index].read_exact(&mut piece)?;
            for (position, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n')
            {
                let after = from + position as u64 + 1;
                let last = at_end && index + 1 == files.len() && after == end;
                breaks += u64::from(!last);
                if breaks == lines || lines == 0 {
                    let start = if lines == 0 { files[index].metadata()?.len() } else { after };
                    files[index].seek(SeekFrom::Start(start))?;
                    files.drain(..index);
                    return Ok(());
                }
            }
            at_end = false;
            end = from;
        }
        files[index].seek(SeekFrom::Start(0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::io::Write;

    fn write(root: &Path, name: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(root.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    async fn all(root: &Path, start: Start) -> String {
        let follower = Follower::open(root, "stdout", start).unwrap();
        let pieces: Vec<Bytes> = follower.pieces(None).map(Result::unwrap).collect().await;
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[tokio::test]
    async fn rotated_files_read_as_one_text_from_any_place() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(all(root.path(), Start::Offset(0)).await, "", "no output yet");
        write(root.path(), "stdout.2", "one\ntw");
        write(root.path(), "stdout.1", "o\nthree\n");
        write(root.path(), "stdout", "four\nfive\n");
        let text = "one\ntwo\nthree\nfour\nfive\n";
        for offset in 0..=text.len() + 1 {
            let rest = text.get(offset..).unwrap_or("");
            assert_eq!(all(root.path(), Start::Offset(offset as u64)).await, rest, "{offset}");
        }
        for (lines, rest) in [
            (0, ""),
            (1, "five\n"),
            (2, "four\nfive\n"),
            (3, "three\nfour\nfive\n"),
            (4, "two\nthree\nfour\nfive\n"),
            (5, text),
            (9, text),
        ] {
            assert_eq!(all(root.path(), Start::LastLines(lines)).await, rest, "{lines}");
        }
        write(root.path(), "stdout", "unfinished");
        assert_eq!(all(root.path(), Start::LastLines(2)).await, "five\nunfinished");
    }

    #[tokio::test]
    async fn following_survives_rotation_and_ends_with_the_container() {
        let root = tempfile::tempdir().unwrap();
        let container = ContainerId::new("f1-1-1").unwrap();
        let live = Live::default();
        live.insert(container.clone());
        write(root.path(), "stdout", "a\n");
        let follower = Follower::open(root.path(), "stdout", Start::Offset(0)).unwrap();
        let pieces = follower.pieces(Some((live.clone(), container.clone())));
        tokio::pin!(pieces);
        assert_eq!(pieces.next().await.unwrap().unwrap(), "a\n");
        write(root.path(), "stdout", "b\n");
        std::fs::rename(root.path().join("stdout"), root.path().join("stdout.1")).unwrap();
        write(root.path(), "stdout", "c\n");
        live.remove(&container);
        let rest: Vec<Bytes> = pieces.map(Result::unwrap).collect().await;
        assert_eq!(rest.concat(), b"b\nc\n");
    }
}
