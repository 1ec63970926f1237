// SPDX-License-Identifier: MIT OR Apache-2.0
//! What dom0's init says over the second serial port.
//!
//! The port carries the raw output of the jobs; between it, init writes frames:
//!
//!     #lab:<nonce>:begin 2
//!     #lab:<nonce>:end 2 101
//!
//! The nonce is new in each run, so no output can look like a frame by accident.

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Output(Vec<u8>),
    Frame(Frame),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Init reached this step.
    Step(String),
    /// Job n starts; n counts from 0.
    Begin(usize),
    /// Job n ended with this status.
    End(usize, i32),
    /// The prompt of `lab shell` comes next: from here on all is raw.
    Shell,
    /// Nothing more will come.
    Done,
    /// Init could not go on.
    Failed(String),
}

/// Splits the stream into output and frames.
pub(crate) struct Wire {
    marker: Vec<u8>,
    pending: Vec<u8>,
    raw: bool,
}

impl Wire {
    pub(crate) fn new(nonce: &str) -> Self {
        Self {
            marker: format!("#lab:{nonce}:").into_bytes(),
            pending: Vec::new(),
            raw: false,
        }
    }

    /// Takes what arrived; returns what is complete.
    ///
    /// # Errors
    /// A frame that init never sends: bytes were lost.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, String> {
        self.pending.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while !self.raw {
            let Some(at) = find(&self.pending, &self.marker) else {
                break;
            };
            output(&mut pieces, self.pending.drain(..at).collect());
            let Some(length) = self.pending.iter().position(|&b| b == b'\n') else {
                return Ok(pieces);
            };
            let line: Vec<u8> = self.pending.drain(..=length).collect();
            let text = String::from_utf8_lossy(&line[self.marker.len()..]);
            let frame = parse(text.trim_end())
                .ok_or_else(|| format!("the frame `{}` makes no sense", text.trim_end()))?;
            self.raw = frame == Frame::Shell;
            pieces.push(Piece::Frame(frame));
        }
        let keep = if self.raw {
            0
        } else {
            partial(&self.pending, &self.marker)
        };
        output(
            &mut pieces,
            self.pending.drain(..self.pending.len() - keep).collect(),
        );
        Ok(pieces)
    }
}

fn output(pieces: &mut Vec<Piece>, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        pieces.push(Piece::Output(bytes));
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// How many bytes at the end could be the start of the marker?
fn partial(bytes: &[u8], marker: &[u8]) -> usize {
    (1..marker.len().min(bytes.len() + 1))
        .rev()
        .find(|&n| bytes.ends_with(&marker[..n]))
        .unwrap_or(0)
}

fn parse(text: &str) -> Option<Frame> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match kind {
        "step" => Frame::Step(rest.to_owned()),
        "failed" => Frame::Failed(rest.to_owned()),
        "begin" => Frame::Begin(rest.parse().ok()?),
        "end" => {
            let (job, status) = rest.split_once(' ')?;
            Frame::End(job.parse().ok()?, status.parse().ok()?)
        }
        "shell" => Frame::Shell,
        "done" => Frame::Done,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> Piece {
        Piece::Output(text.as_bytes().to_vec())
    }

    #[test]
    fn output_and_frames_are_told_apart() {
        let mut wire = Wire::new("n1");
        let pieces = wire
            .feed(b"#lab:n1:begin 0\nhello\n#lab:n2:end 0 0\nno newline#lab:n1:end 0 101\n")
            .unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Frame(Frame::Begin(0)),
                out("hello\n#lab:n2:end 0 0\nno newline"),
                Piece::Frame(Frame::End(0, 101)),
            ]
        );
    }

    #[test]
    fn any_split_gives_the_same_result() {
        let stream = b"a#\n#lab:n1:step create A\n##lab:n1:end 3 -1\n#lab:n1:done\n";
        for split in 0..stream.len() {
            let mut wire = Wire::new("n1");
            let mut pieces = wire.feed(&stream[..split]).unwrap();
            pieces.extend(wire.feed(&stream[split..]).unwrap());
            let text: Vec<u8> = pieces
                .iter()
                .filter_map(|p| match p {
                    Piece::Output(bytes) => Some(bytes.clone()),
                    Piece::Frame(_) => None,
                })
                .flatten()
                .collect();
            assert_eq!(text, b"a#\n#", "split at {split}");
            pieces.retain(|p| matches!(p, Piece::Frame(_)));
            assert_eq!(
                pieces,
                [
                    Piece::Frame(Frame::Step("create A".to_owned())),
                    Piece::Frame(Frame::End(3, -1)),
                    Piece::Frame(Frame::Done),
                ]
            );
        }
    }

    #[test]
    fn partial_lines_are_not_held_back() {
        let mut wire = Wire::new("n1");
        assert_eq!(wire.feed(b"test x ... #").unwrap(), [out("test x ... ")]);
        assert_eq!(wire.feed(b"1").unwrap(), [out("#1")]);
    }

    #[test]
    fn a_shell_makes_all_raw() {
        let mut wire = Wire::new("n1");
        let pieces = wire.feed(b"#lab:n1:shell\n#lab:n1:end").unwrap();
        assert_eq!(pieces, [Piece::Frame(Frame::Shell), out("#lab:n1:end")]);
    }

    #[test]
    fn damage_is_an_error() {
        assert!(Wire::new("n1").feed(b"#lab:n1:end 1\n").is_err());
        assert!(Wire::new("n1").feed(b"#lab:n1:ennd 1 1\n").is_err());
    }
}
