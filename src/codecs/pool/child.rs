//! One codec's process, from the parent's side.
//!
//! It gets nothing but its limits: no environment, in which the keys of a store may be, no files, no terminal.
//!
//! Invariant: a process that once failed to answer as it should gets no second job: it is killed and waited for.
//! Elsewhere: what it does (`codecs::worker`), how many there are (`pool`).

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::codecs::Settings;
use crate::codecs::wire::{REPLY_BYTES, Reply, Request, Status};

/// What a pipe holds: the larger, the fewer turns for one frame.
const PIPE_BYTES: usize = 1 << 20;
/// An idle process ends when its input does.
const END_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Child {
    process: tokio::process::Child,
    id: u32,
    input: ChildStdin,
    output: ChildStdout,
}

pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) cpu: Duration,
}

/// What is left of a process behind a job.
pub(super) enum Left {
    /// It is there for the next one.
    Ready(Box<Child>),
    /// It said that it ends, and did.
    Ended,
    /// It broke down or was killed.
    Lost,
}

#[derive(Debug)]
pub(super) enum Failure {
    /// The codec refuses the frame.
    Refused(String),
    /// The process took too long.
    TimedOut,
    /// The process ended, or answered what no sound one does.
    Died,
}

impl Child {
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let mut process = Command::new(&settings.program)
            .arg("codec")
            .args(["--memory", &settings.memory_bytes.to_string()])
            .args(["--time", &settings.time.as_millis().to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // An interrupt at the terminal is for the archive, which then ends its processes.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = process.id().unwrap_or_default();
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // Where that is not allowed, it works all the same.
        let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES);
        let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES);
        Ok(Self { process, id, input, output })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// One frame, and what is left of the process.
    pub(super) async fn work(
        mut self,
        request: &Request,
        frame: &[u8],
        time: Duration,
    ) -> (Left, Result<Answer, Failure>) {
        match tokio::time::timeout(time, self.exchange(request, frame)).await {
            Ok(Ok((false, done))) => (Left::Ready(Box::new(self)), done),
            Ok(Ok((true, done))) => {
                self.end().await;
                (Left::Ended, done)
            }
            failed => {
                // Waits too, so that nothing of it is left.
                drop(self.process.kill().await);
                let failure = if failed.is_err() { Failure::TimedOut } else { Failure::Died };
                (Left::Lost, Err(failure))
            }
        }
    }

    /// Written and read at once: a process may end early, and must not be waited for then. Whether the answer is
    /// its last, and the answer.
    async fn exchange(
        &mut self,
        request: &Request,
        frame: &[u8],
    ) -> io::Result<(bool, Result<Answer, Failure>)> {
        let (input, output) = (&mut self.input, &mut self.output);
        let write = async {
            input.write_all(&request.bytes()).await?;
            input.write_all(frame).await?;
            input.flush().await
        };
        let read = async {
            let mut head = [0; REPLY_BYTES];
            output.read_exact(&mut head).await?;
            let reply = Reply::of(&head, request).ok_or(io::ErrorKind::InvalidData)?;
            let length = usize::try_from(reply.body_bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            let mut bytes = Vec::with_capacity(length);
            output.take(reply.body_bytes).read_to_end(&mut bytes).await?;
            if bytes.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok((reply, bytes))
        };
        let ((), (reply, bytes)) = tokio::try_join!(write, read)?;
        let done = match reply.status {
            Status::Done => Ok(Answer { bytes, cpu: Duration::from_micros(reply.cpu_micros) }),
            Status::Refused => Err(Failure::Refused(String::from_utf8_lossy(&bytes).into_owned())),
        };
        Ok((reply.last, done))
    }

    /// Ends it by ending its input.
    pub(super) async fn end(self) {
        let Self { mut process, input, output, .. } = self;
        drop((input, output));
        if !matches!(tokio::time::timeout(END_WAIT, process.wait()).await, Ok(Ok(_))) {
            drop(process.kill().await);
        }
    }
}
