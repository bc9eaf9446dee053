//! HTTP inside a TCP flow: requests, answers and WebSocket frames in order.

use super::{Context, TcpInspector};
use crate::grammar;
use crate::http::{self, Asked};
use crate::{Evidence, Side, Technique};

impl TcpInspector {
    /// Reads requests, answers and frames of one direction in order.
    pub(super) fn read_http(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if !context.options.enabled(Technique::Http) {
            return;
        }
        let start = self.reading(side).start;
        loop {
            let at = usize::from(self.reading(side).head.saturating_sub(start));
            let rest = bytes.get(at..).unwrap_or(&[]);
            let next = if grammar::is_http_request(rest) {
                // A request that is not whole yet may be any.
                self.asked = Asked::Nothing;
                let direction = self.direction(side);
                let no_more = direction.is_cut() || direction.is_full();
                let Some((asked, evidence)) = http::request(rest, no_more, side) else {
                    return;
                };
                let end = http::head_end(bytes, at);
                if end.is_some() {
                    self.ask(asked);
                } else {
                    self.asked = asked;
                }
                self.emit_some(evidence, context);
                end
            } else if rest.starts_with(b"HTTP/1.") {
                let asked = self.answered(side);
                if let Some(evidence) = http::answer(rest, side, asked, context.findings) {
                    self.emit(evidence, context);
                }
                // A tracker's body ends with its flow or before the next answer's segment.
                http::head_end(bytes, at).filter(|_| self.asked == Asked::WebSocket)
            } else if self.asked == Asked::WebSocket && at > 0 {
                let Some((evidence, length)) = http::websocket(rest, side) else {
                    return;
                };
                self.emit_some(evidence, context);
                Some(at.saturating_add(length))
            } else {
                return;
            };
            let Some(next) = next else { return };
            let next = next.saturating_add(usize::from(start));
            self.reading(side).head = u16::try_from(next).unwrap_or(u16::MAX);
        }
    }

    /// Remembers what a whole request asks. Of several open ones nobody knows which is answered.
    fn ask(&mut self, asked: Asked) {
        self.asked = if self.open { Asked::Nothing } else { asked };
        self.open = true;
    }

    /// What an answer of `side` is to.
    fn answered(&mut self, side: Side) -> Asked {
        self.open = false;
        if self.direction(side.other()).spoke() {
            self.asked
        } else {
            Asked::Unseen
        }
    }

    fn emit_some(&mut self, evidence: Option<Evidence>, context: &mut Context<'_>) {
        if let Some(evidence) = evidence {
            self.emit(evidence, context);
        }
    }

    pub(super) fn read_http_segment(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if !context.options.enabled(Technique::Http) {
            return;
        }
        let evidence = if grammar::is_http_request(bytes) {
            let cut = self.direction(side).is_cut();
            http::request(bytes, cut, side).and_then(|(asked, evidence)| {
                self.ask(asked);
                evidence
            })
        } else if bytes.starts_with(b"HTTP/1.") {
            http::answer(bytes, side, self.answered(side), context.findings)
        } else if self.asked == Asked::WebSocket {
            http::websocket(bytes, side).and_then(|(evidence, _)| evidence)
        } else {
            None
        };
        self.emit_some(evidence, context);
    }
}
