//! Where the lines come from: standard input and files, plain, gzip or zstd, read in order by a thread of its own.
//!
//! Out: batches of whole lines through a bounded channel. Nothing is read ahead of it, so that the writer of a pipe is
//! slowed to the rate of the valve. A batch is sent as soon as the next read could block: a slow pipe is not held up.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use tokio::sync::mpsc;

/// One source of lines, in the order of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// What the command line names: `-` is standard input, nothing at all too.
    pub(super) fn all(paths: &[PathBuf]) -> Vec<Self> {
        if paths.is_empty() {
            return vec![Self::Stdin];
        }
        paths.iter().map(|path| if path == Path::new("-") { Self::Stdin } else { Self::File(path.clone()) }).collect()
    }

    /// Bytes as stored, where that is known beforehand: regular files, also redirected ones.
    fn size(&self) -> io::Result<Option<u64>> {
        let metadata = match self {
            Self::Stdin => stdin_as_file()?.metadata()?,
            Self::File(path) => path.metadata()?,
        };
        if metadata.is_dir() {
            return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory; name its files"));
        }
        Ok(metadata.is_file().then_some(metadata.len()))
    }

    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdin => stdin_as_file(),
            Self::File(path) => File::open(path),
        }
    }

    /// What the name promises.
    fn named_packing(&self) -> Option<Packing> {
        let Self::File(path) = self else { return None };
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Some(Packing::Gzip),
            "zst" | "zstd" => Some(Packing::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Bytes as stored of all sources together, `None` when one of them is no regular file. Opens each file once, so that
/// a wrong name is found before anything is sent.
///
/// # Errors
/// The first source that cannot be read.
pub(super) fn total_size(sources: &[Source]) -> Result<Option<u64>, InputError> {
    let mut total = Some(0);
    for source in sources {
        let checked = source.size().and_then(|size| match source {
            // Opening a named pipe would wait for its writer.
            Source::File(_) if size.is_some() => source.open().map(|_| size),
            _ => Ok(size),
        });
        let size = checked.map_err(|error| InputError::new(source, 0, Fault::Open(error)))?;
        total = total.zip(size).map(|(total, size)| total + size);
    }
    Ok(total)
}

/// Whole lines of one source.
#[derive(Debug)]
pub(super) struct Batch {
    /// The source, as messages name it.
    pub(super) input: Arc<str>,
    /// Number of the first line in its source, from 1.
    pub(super) first_line: u64,
    /// Number of the first line over all sources, from 0.
    pub(super) first: u64,
    /// Stored bytes read from all sources when this batch was made.
    pub(super) read: u64,
    /// The one line of the batch is longer than [`LINE_BYTES_MAX`]; its beginning is here.
    pub(super) overlong: bool,
    text: Vec<u8>,
    /// Where each line ends, line end included.
    ends: Vec<u32>,
}

impl Batch {
    /// How many lines; never 0.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Line `index` without its line end (`\n` or `\r\n`).
    pub(super) fn line(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        let line = &self.text[start..self.ends[index] as usize];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The number over all sources of the line after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// Bytes of text that the batch keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// Starts reading; the thread ends with the input, with an error, or when the receiver is dropped.
///
/// The first `skip` lines over all sources are counted and left out.
pub(super) fn spawn(sources: Vec<Source>, skip: u64) -> io::Result<mpsc::Receiver<Result<Batch, InputError>>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    // A thread of its own, not the runtime's: a read that waits for a silent pipe must not keep the process alive.
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut reader = Reader { sender, skip, lines: 0, read: Arc::default() };
        if let Err(Stopped::Failed(error)) = reader.read_all(&sources) {
            // Nobody listens any more: the command is ending for a reason of its own.
            let _ = reader.sender.blocking_send(Err(error));
        }
    })?;
    Ok(receiver)
}

/// Why reading stopped before the end of the input.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub(super) struct InputError {
    fault: String,
}

impl InputError {
    fn new(source: &Source, line: u64, fault: Fault) -> Self {
        let fault = match fault {
            Fault::Open(error) => format!("cannot read {source}: {}", plain(&error)),
            Fault::Read(error) => format!("cannot read {source} after its line {line}: {}", plain(&error)),
            Fault::Packing(packing) => {
                format!("{source} is not {packing}, though its name says so; rename it, or pack it again")
            }
            Fault::Skip { wanted } => {
                format!(
                    "the input ends after line {line}, so --skip-lines {wanted} cannot be right; is it the same input?"
                )
            }
        };
        Self { fault }
    }
}

enum Fault {
    Open(io::Error),
    Read(io::Error),
    Packing(Packing),
    Skip { wanted: u64 },
}

enum Stopped {
    Failed(InputError),
    ReceiverGone,
}

struct Reader {
    sender: mpsc::Sender<Result<Batch, InputError>>,
    skip: u64,
    /// Lines seen over all sources.
    lines: u64,
    read: Arc<AtomicU64>,
}

impl Reader {
    fn read_all(&mut self, sources: &[Source]) -> Result<(), Stopped> {
        for source in sources {
            let before = self.lines;
            self.read_source(source).map_err(|ended| match ended {
                Ended::ReceiverGone => Stopped::ReceiverGone,
                Ended::Failed(fault) => Stopped::Failed(InputError::new(source, self.lines - before, fault)),
            })?;
        }
        if let (true, Some(source)) = (self.lines < self.skip, sources.last()) {
            let fault = Fault::Skip { wanted: self.skip };
            return Err(Stopped::Failed(InputError::new(source, self.lines, fault)));
        }
        Ok(())
    }

    fn read_source(&mut self, source: &Source) -> Result<(), Ended> {
        let file = source.open().map_err(Fault::Open)?;
        let counted = Counted { inner: file, read: Arc::clone(&self.read) };
        let mut reader = unpacked(counted, source.named_packing())?;
        let mut lines = SourceLines { input: source.to_string().into(), line: 1 };
        let mut partial = Vec::new();
        let mut discarding = false;
        loop {
            let chunk = match reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Read(error).into()),
            };
            let length = chunk.len();
            if length == 0 {
                break;
            }
            if discarding {
                let end = chunk.iter().position(|byte| *byte == b'\n');
                discarding = end.is_none();
                reader.consume(end.map_or(length, |end| end + 1));
                continue;
            }
            match chunk.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => {
                    partial.extend_from_slice(&chunk[..=last]);
                    let rest = chunk[last + 1..].to_vec();
                    self.send(&mut lines, std::mem::replace(&mut partial, rest), false)?;
                }
                None => partial.extend_from_slice(chunk),
            }
            reader.consume(length);
            if partial.len() > LINE_BYTES_MAX {
                partial.truncate(OVERLONG_BYTES_KEPT);
                self.send(&mut lines, std::mem::take(&mut partial), true)?;
                discarding = true;
            }
        }
        if partial.is_empty() { Ok(()) } else { self.send(&mut lines, partial, false) }
    }

    fn send(&mut self, lines: &mut SourceLines, mut text: Vec<u8>, overlong: bool) -> Result<(), Ended> {
        let mut ends = line_ends(&text);
        let count = ends.len() as u64;
        let skipped = self.skip.saturating_sub(self.lines).min(count);
        let (first_line, first) = (lines.line + skipped, self.lines + skipped);
        lines.line += count;
        self.lines += count;
        if skipped == count {
            return if self.sender.is_closed() { Err(Ended::ReceiverGone) } else { Ok(()) };
        }
        if skipped > 0 {
            let index = usize::try_from(skipped).expect("at most the number of lines in memory");
            let offset = ends[index - 1];
            text.drain(..offset as usize);
            ends.drain(..index);
            ends.iter_mut().for_each(|end| *end -= offset);
        }
        let read = self.read.load(Ordering::Relaxed);
        let batch = Batch { input: Arc::clone(&lines.input), first_line, first, read, overlong, text, ends };
        self.sender.blocking_send(Ok(batch)).map_err(|_| Ended::ReceiverGone)
    }
}

/// Where the reader stands in one source.
struct SourceLines {
    input: Arc<str>,
    /// Number of the next line, from 1.
    line: u64,
}

enum Ended {
    Failed(Fault),
    ReceiverGone,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The first bytes: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
    const fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Unpacks by the first bytes, whatever the name says; a name that promises a packing must keep it.
fn unpacked(mut raw: impl Read + Send + 'static, promised: Option<Packing>) -> Result<Box<dyn BufRead + Send>, Fault> {
    let head = read_magic(&mut raw).map_err(Fault::Read)?;
    let found = Packing::ALL.into_iter().find(|packing| head.starts_with(packing.magic()));
    if let (Some(promised), None, false) = (promised, found, head.is_empty()) {
        return Err(Fault::Packing(promised));
    }
    let whole = Cursor::new(head).chain(raw);
    Ok(match found {
        None => Box::new(BufReader::with_capacity(CHUNK_BYTES, whole)),
        Some(Packing::Gzip) => {
            let packed = BufReader::with_capacity(CHUNK_BYTES, whole);
            Box::new(BufReader::with_capacity(CHUNK_BYTES, MultiGzDecoder::new(packed)))
        }
        Some(Packing::Zstd) => {
            let decoder = zstd::Decoder::new(whole).map_err(Fault::Read)?;
            Box::new(BufReader::with_capacity(CHUNK_BYTES, decoder))
        }
    })
}

/// As many first bytes as are needed to tell: a pipe that has brought `a\n` must not wait for two bytes more.
fn read_magic(raw: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while Packing::ALL.iter().any(|packing| packing.magic().len() > head.len() && packing.magic().starts_with(&head)) {
        let mut byte = [0];
        match raw.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The end of every line, the last one also without a line end.
fn line_ends(text: &[u8]) -> Vec<u32> {
    let offset = |end: usize| u32::try_from(end).expect("a batch is a line and a chunk at most");
    let mut ends: Vec<u32> =
        text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| offset(at + 1)).collect();
    if text.last().is_some_and(|byte| *byte != b'\n') {
        ends.push(offset(text.len()));
    }
    ends
}

/// Standard input as a file of its own: no second buffer, and its kind and size can be asked.
fn stdin_as_file() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// An error without "(os error 2)".
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Longest line that is taken for one: 16 × the broker's default limit of a message, above every usual setting.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
/// What is kept of a longer one, to show it among the rejects.
const OVERLONG_BYTES_KEPT: usize = 1 << 10;
/// One read; measured: larger ones gain nothing, and a pipe gives 64 KiB at most.
const CHUNK_BYTES: usize = 256 << 10;
/// With `CHUNK_BYTES` about 1 MiB read ahead.
const BATCHES_AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// (source's line number, line) of every line, and the error that ended it.
    fn read(sources: Vec<Source>, skip: u64) -> (Vec<(u64, Vec<u8>)>, Option<String>) {
        let mut receiver = spawn(sources, skip).unwrap();
        let (mut lines, mut error, mut next) = (Vec::new(), None, skip);
        while let Some(item) = receiver.blocking_recv() {
            match item {
                Ok(batch) => {
                    assert_eq!(batch.first, next, "batches follow each other");
                    next = batch.end();
                    for index in 0..batch.len() {
                        lines.push((batch.first_line + index as u64, batch.line(index).to_vec()));
                    }
                }
                Err(stopped) => error = Some(stopped.to_string()),
            }
        }
        (lines, error)
    }

    fn file(directory: &tempfile::TempDir, name: &str, content: &[u8]) -> Source {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Source::File(path)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn text(lines: &[(u64, Vec<u8>)]) -> Vec<&[u8]> {
        lines.iter().map(|(_, line)| line.as_slice()).collect()
    }

    #[test]
    fn line_ends_of_every_kind() {
        let directory = tempfile::tempdir().unwrap();
        for (content, expected) in [
            (&b""[..], &[][..]),
            (b"a", &[&b"a"[..]][..]),
            (b"a\nb\n", &[b"a", b"b"]),
            (b"a\r\n\r\nb", &[b"a", b"", b"b"]),
            (b"\n\n", &[b"", b""]),
            (b"a\rb\n", &[b"a\rb"]),
            (b"\xff\xfe\n", &[b"\xff\xfe"]),
        ] {
            let (lines, error) = read(vec![file(&directory, "f", content)], 0);
            assert_eq!((text(&lines).as_slice(), error), (expected, None), "{content:?}");
        }
    }

    #[test]
    fn files_follow_each_other_each_with_its_own_line_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let sources = vec![file(&directory, "a", b"1\n2\n3"), file(&directory, "b", b"4\n5\n")];
        let (lines, _) = read(sources.clone(), 0);
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 1, 2]);
        for skip in 0..=5 {
            let (kept, error) = read(sources.clone(), skip);
            assert_eq!(kept, lines[usize::try_from(skip).unwrap()..], "{skip}");
            assert_eq!(error, None);
        }
        let (_, error) = read(sources, 6);
        assert!(error.unwrap().contains("ends after line 5"));
    }

    #[test]
    fn packed_files_are_known_by_their_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let content = b"one\ntwo\n".repeat(100_000);
        let mut twice = gzip(&content);
        twice.extend(gzip(b"three\n"));
        for (name, packed) in [
            ("a.gz", gzip(&content)),
            ("no-extension", gzip(&content)),
            ("a.zst", zstd::encode_all(&content[..], 1).unwrap()),
            ("plain", content.clone()),
        ] {
            let (lines, error) = read(vec![file(&directory, name, &packed)], 0);
            assert_eq!((lines.len(), error), (200_000, None), "{name}");
        }
        let (lines, _) = read(vec![file(&directory, "members.gz", &twice)], 0);
        assert_eq!(lines.last().unwrap(), &(200_001, b"three".to_vec()));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_the_line_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let whole = gzip(&b"line\n".repeat(1_000_000));
        let (lines, error) = read(vec![file(&directory, "cut.gz", &whole[..whole.len() / 2])], 0);
        let error = error.unwrap();
        assert!(!lines.is_empty());
        assert!(error.contains("cut.gz after its line ") && !error.contains("line 0:"), "{error}");
        let (_, error) = read(vec![file(&directory, "plain.gz", b"text\n")], 0);
        assert!(error.unwrap().contains("not gzip"));
        assert_eq!(read(vec![file(&directory, "empty.gz", b"")], 0), (Vec::new(), None));
        let missing = Source::File(directory.path().join("missing"));
        let error = total_size(&[missing]).unwrap_err().to_string();
        assert!(error.ends_with("missing: No such file or directory"), "{error}");
        let error = total_size(&[Source::File(directory.path().to_owned())]).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
    }

    #[test]
    fn a_line_without_an_end_is_cut_short_and_marked() {
        let directory = tempfile::tempdir().unwrap();
        let mut content = b"before\n".to_vec();
        content.extend(vec![b'x'; LINE_BYTES_MAX + CHUNK_BYTES]);
        content.extend(b"\nafter\n");
        let mut receiver = spawn(vec![file(&directory, "f", &content)], 0).unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = receiver.blocking_recv() {
            let batch = batch.unwrap();
            seen.push((batch.first_line, batch.overlong, batch.line(0).len()));
        }
        assert_eq!(seen, [(1, false, 6), (2, true, OVERLONG_BYTES_KEPT), (3, false, 5)]);
    }

    #[test]
    fn the_thread_waits_for_its_receiver() {
        let directory = tempfile::tempdir().unwrap();
        let content = b"0123456789\n".repeat(1_000_000);
        let mut receiver = spawn(vec![file(&directory, "f", &content)], 0).unwrap();
        let first = receiver.blocking_recv().unwrap().unwrap();
        assert!(first.read <= (CHUNK_BYTES * (BATCHES_AHEAD + 3)) as u64, "{}", first.read);
        assert!(receiver.len() <= BATCHES_AHEAD);
    }

    proptest! {
        #[test]
        fn every_line_comes_once_and_in_order(
            lines in prop::collection::vec("[a-z ]{0,40}", 1..200), skip in 0_u64..100, crlf: bool, packed: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let content: String = lines.iter().flat_map(|line| [line.as_str(), end]).collect();
            let directory = tempfile::tempdir().unwrap();
            let content = if packed { gzip(content.as_bytes()) } else { content.into_bytes() };
            let skip = skip.min(lines.len() as u64);
            let (seen, error) = read(vec![file(&directory, "f", &content)], skip);
            prop_assert_eq!(error, None);
            let expected: Vec<_> = lines.iter().enumerate().skip(usize::try_from(skip).unwrap())
                .map(|(index, line)| (index as u64 + 1, line.as_bytes().to_vec())).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
