//! The socket to the kernel's netfilter subsystems.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mnl::{Bus, NlMessages, Socket};
use nftnl::nftnl_sys::libc;
use nftnl::{Batch, FinalizedBatch};

use super::attribute::{Attributes, HEADER_LEN, Message};

/// How long an answer may take. The kernel answers within the call that sends; the longest that was seen is
/// a hash of half a million entries that grows (0.1 s).
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A dump that changed while it was read is read again this many times.
const DUMP_ATTEMPTS: usize = 5;
/// Room for one `recv`: the kernel fills dump buffers up to 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Questions in one datagram: their answers, about 5 KiB each with what the kernel adds, wait in a socket's default
/// receive buffer (208 KiB) together.
pub(in crate::backend) const QUESTIONS: usize = 32;

const KIND_ERROR: u16 = libc::NLMSG_ERROR as u16;
const KIND_DONE: u16 = libc::NLMSG_DONE as u16;
const DUMP_INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;

#[repr(align(8))]
struct ReceiveBuffer([u8; RECEIVE_BYTES]);

/// A netfilter netlink socket that is opened on first use and replaced after an error.
pub(in crate::backend) struct Channel {
    socket: Option<OwnedSocket>,
    sequence: u32,
    buffer: Box<ReceiveBuffer>,
}

struct OwnedSocket(Socket);

// SAFETY: the pointer inside leads to a heap object that holds a descriptor and an address; libmnl ties it to
// no thread, and this type is its only owner.
unsafe impl Send for OwnedSocket {}

impl Channel {
    /// A channel in the calling thread's network namespace.
    pub(in crate::backend) fn new() -> Self {
        Self {
            socket: None,
            sequence: 0,
            buffer: Box::new(ReceiveBuffer([0; RECEIVE_BYTES])),
        }
    }

    /// Sends one message and hands the attributes of each reply to `on_reply` until the kernel is done.
    pub(in crate::backend) fn ask(
        &mut self,
        message: Message,
        mut on_reply: impl FnMut(Attributes<'_>),
    ) -> io::Result<()> {
        self.begin(message)?;
        while !self.more(&mut on_reply)? {}
        Ok(())
    }

    /// Sends one message whose replies [`Channel::more`] reads.
    pub(in crate::backend) fn begin(&mut self, message: Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence);
        self.or_close(|channel| channel.send(&bytes))
    }

    /// Reads some of the replies and hands over the attributes of each; whether the kernel is done.
    pub(in crate::backend) fn more(&mut self, mut on_reply: impl FnMut(Attributes<'_>)) -> io::Result<bool> {
        let sequence = self.sequence;
        self.or_close(|channel| {
            channel.receive(|reply| {
                if reply.sequence != sequence {
                    return Ok(false);
                }
                match reply.kind {
                    KIND_ERROR | KIND_DONE => reply.result().map(|()| true),
                    _ => {
                        on_reply(Attributes::of_message(reply.bytes));
                        Ok(false)
                    }
                }
            })
        })
    }

    /// Sends questions in one datagram, each made with [`Message::without_ack`], and hands over their answers in
    /// order: the attributes, or nothing when what is asked for does not exist. At most [`QUESTIONS`].
    pub(in crate::backend) fn ask_each(
        &mut self,
        questions: impl Iterator<Item = Message>,
        mut on_answer: impl FnMut(Option<Attributes<'_>>),
    ) -> io::Result<()> {
        let (mut bytes, mut next) = (Vec::new(), self.sequence.wrapping_add(1));
        for question in questions {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(question.finish(self.sequence));
        }
        let last = self.sequence;
        self.exchange(&bytes, |reply| {
            if reply.sequence != next {
                return Ok(false);
            }
            match reply.kind {
                KIND_ERROR => match reply.result() {
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => on_answer(None),
                    result => result?,
                },
                _ => on_answer(Some(Attributes::of_message(reply.bytes))),
            }
            next = next.wrapping_add(1);
            Ok(reply.sequence == last)
        })
    }

    /// Sends a dump request made by `request` and collects what `read` makes of each reply. A dump that the
    /// kernel reports as disturbed is started again.
    pub(in crate::backend) fn dump<T>(
        &mut self,
        request: impl Fn() -> Message,
        mut read: impl FnMut(Attributes<'_>, &mut Vec<T>),
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            match self.ask(request(), |reply| read(reply, &mut found)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(found),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the kernel's list changed while it was read",
        ))
    }

    /// Sends a batch; all of it takes effect or nothing. Ends at the first refusal, because the kernel does
    /// not acknowledge what follows it.
    pub(in crate::backend) fn commit(&mut self, batch: Batch) -> io::Result<()> {
        let batch: FinalizedBatch = batch.finalize();
        let mut expected = batch.sequence_numbers().len();
        // One datagram: the kernel takes each as a batch of its own.
        let bytes: Vec<u8> = batch.iter().flatten().copied().collect();
        self.exchange(&bytes, |reply| {
            if reply.kind == KIND_ERROR {
                reply.result()?;
                expected = expected.saturating_sub(1);
            }
            Ok(expected == 0)
        })
    }

    fn exchange(
        &mut self,
        bytes: &[u8],
        mut on_reply: impl FnMut(&Reply<'_>) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.or_close(|channel| {
            channel.send(bytes)?;
            while !channel.receive(&mut on_reply)? {}
            Ok(())
        })
    }

    fn or_close<T>(&mut self, talk: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let result = talk(self);
        if result.is_err() {
            self.socket = None;
        }
        result
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(OwnedSocket(open()?)),
        };
        match socket.0.send(bytes)? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Receives once; whether `on_reply` has said that it was the end.
    fn receive(&mut self, mut on_reply: impl FnMut(&Reply<'_>) -> io::Result<bool>) -> io::Result<bool> {
        let Some(socket) = &mut self.socket else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let len = match socket.0.recv_raw(&mut self.buffer.0) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the kernel did not answer",
                ));
            }
            Err(error) => return Err(error),
        };
        for message in NlMessages::new(self.buffer.0.get(..len).unwrap_or_default()) {
            let Some(reply) = Reply::of(message?) else {
                continue;
            };
            if reply.flags & DUMP_INTERRUPTED != 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if on_reply(&reply)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Reply<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'a [u8],
}

impl<'a> Reply<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let two = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        Some(Self {
            kind: two(4)?,
            flags: two(6)?,
            sequence: u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?),
            bytes,
        })
    }

    /// What an error or end message says: zero, or a negated error number of the kernel or of ipset.
    fn result(&self) -> io::Result<()> {
        let code = self
            .bytes
            .get(HEADER_LEN..HEADER_LEN + 4)
            .and_then(|code| code.try_into().ok())
            .map_or(0, i32::from_ne_bytes);
        if code < 0 {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        } else {
            Ok(())
        }
    }
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Bus::Netfilter)?;
    let timeout = libc::timeval {
        tv_sec: ANSWER_WITHIN.as_secs() as libc::time_t,
        tv_usec: 0,
    };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
    // Without this an error carries the whole refused message back.
    set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1_i32)?;
    Ok(socket)
}

fn set_option<T>(socket: &Socket, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `socket` lives, and `value` points to as many readable
    // bytes as are announced.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
