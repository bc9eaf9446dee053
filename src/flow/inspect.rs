//! Shows packets to the inspector of their flow, and remembers what was found.

use super::limits;
use super::slab::Handle;
use super::table::{FlowTable, Stage, Touched};
use super::tcp_state;
use super::watch::{Remembered, Watch};
use crate::packet::{PacketView, TcpView, TransportView};
use btblocker_detectors::{
    Confidence, Ends, Findings, Options, Progress, Side, TcpInspector, TcpSegment, Timestamp, UdpDatagram,
    UdpInspector,
};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// The inspector saw it; its findings stand.
    Yes,
    /// It carries nothing to look at.
    Empty,
    /// Nothing more is wanted of this flow, or not now.
    Unwanted,
}

impl FlowTable {
    /// Shows a packet to the inspector of its flow. `findings` must be empty.
    pub fn inspect(
        &mut self,
        touched: Touched,
        at: Timestamp,
        packet: &PacketView<'_>,
        options: &Options,
        findings: &mut Findings,
    ) -> Inspected {
        let Touched { handle, from, .. } = touched;
        let Some(flow) = self.flows.get_mut(handle) else {
            return Inspected::Unwanted;
        };
        let known = flow.inspector.is_some();
        match &packet.transport {
            TransportView::Tcp(segment)
                if segment.wire_len == 0
                    && !(known && (tcp_state::has_syn(segment) || flow.heeds_acknowledgements)) =>
            {
                if flow.buffers.is_some() && flow.tcp.finished() {
                    // Nothing follows, and others wait for buffers.
                    self.release_buffers(handle);
                }
                return Inspected::Empty;
            }
            TransportView::Udp(datagram) if datagram.wire_len == 0 => return Inspected::Empty,
            TransportView::Tcp(_) | TransportView::Udp(_) => {}
        }
        let wake = match flow.watch.and_then(|watch| self.watches.get_mut(watch)) {
            Some(watch) => {
                // A clock that steps back does not silence the flow until it has caught up.
                watch.armed = watch.armed.min(at);
                let wake = at.since(watch.armed) >= limits::REARM_MICROS;
                if wake {
                    watch.armed = at;
                }
                wake
            }
            None => false,
        };
        match flow.stage {
            Stage::Settled => return Inspected::Unwanted,
            Stage::Resting if !wake => return Inspected::Unwanted,
            Stage::Resting => flow.stage = Stage::Packets,
            Stage::New | Stage::Stream | Stage::Packets => {}
        }
        let progress = match &packet.transport {
            TransportView::Tcp(segment) => self.segment(handle, from, at, segment, wake, options, findings),
            TransportView::Udp(view) => {
                let datagram = UdpDatagram {
                    from,
                    at,
                    payload: view.payload,
                    wire_len: view.wire_len,
                    multicast: packet.destination.ip().is_multicast(),
                };
                self.datagram(handle, &datagram, wake, options, findings)
            }
        };
        self.advance(handle, progress.unwrap_or(Progress::Done), findings);
        Inspected::Yes
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, all of it is one packet's context"
    )]
    fn segment(
        &mut self,
        handle: Handle,
        from: Side,
        at: Timestamp,
        view: &TcpView<'_>,
        wake: bool,
        options: &Options,
        findings: &mut Findings,
    ) -> Option<Progress> {
        let flow = self.flows.get_mut(handle)?;
        let fresh = flow.inspector.is_none();
        if fresh {
            let claimed = self.tcp.claim()?;
            *self.tcp.get_mut(claimed)? = TcpInspector::new();
            flow.inspector = Some(claimed);
            flow.buffers = self.buffers.claim();
            if flow.buffers.is_some() {
                flow.stage = Stage::Stream;
            } else {
                flow.stage = Stage::Packets;
                self.counts.buffers_missing += 1;
            }
        }
        let inspector = self.tcp.get_mut(flow.inspector?)?;
        let mut buffers = flow.buffers.and_then(|buffers| self.buffers.get_mut(buffers));
        if wake {
            inspector.rearm();
        }
        if fresh {
            for side in [Side::Originator, Side::Responder] {
                if let Some(sequence) = flow.tcp.beginning(side) {
                    let opening = TcpSegment {
                        from: side,
                        at,
                        sequence,
                        acknowledgement: None,
                        window: 0,
                        window_scale: flow.tcp.window_scale(side),
                        syn: true,
                        payload: &[],
                        wire_len: 0,
                    };
                    inspector.segment(&opening, buffers.as_deref_mut(), options, findings);
                }
            }
        }
        let syn = tcp_state::has_syn(view);
        let segment = TcpSegment {
            from,
            at,
            sequence: view.sequence.wrapping_add(u32::from(syn)),
            acknowledgement: tcp_state::has_ack(view).then_some(view.acknowledgement),
            window: view.window,
            window_scale: view.window_scale,
            syn,
            payload: view.payload,
            wire_len: view.wire_len,
        };
        let progress = inspector.segment(&segment, buffers, options, findings);
        flow.heeds_acknowledgements = inspector.heeds_acknowledgements();
        Some(progress)
    }

    fn datagram(
        &mut self,
        handle: Handle,
        datagram: &UdpDatagram<'_>,
        wake: bool,
        options: &Options,
        findings: &mut Findings,
    ) -> Option<Progress> {
        let flow = self.flows.get_mut(handle)?;
        if flow.inspector.is_none() {
            let claimed = self.udp.claim()?;
            *self.udp.get_mut(claimed)? = UdpInspector::new();
            flow.inspector = Some(claimed);
            flow.stage = Stage::Packets;
        }
        let inspector = self.udp.get_mut(flow.inspector?)?;
        if wake {
            inspector.rearm();
        }
        Some(inspector.datagram(datagram, options, findings))
    }

    /// Gives back what the inspector does not need any more.
    fn advance(&mut self, handle: Handle, progress: Progress, findings: &Findings) {
        match progress {
            Progress::Stream => {}
            Progress::Packets => self.release_buffers(handle),
            Progress::Done => {
                self.release_buffers(handle);
                let Some(flow) = self.flows.get_mut(handle) else {
                    return;
                };
                if flow.watch.is_some() || findings.evidence().next().is_some() {
                    flow.stage = Stage::Resting;
                    return;
                }
                flow.stage = Stage::Settled;
                let (transport, inspector) = (flow.key.transport(), flow.inspector.take());
                if let Some(inspector) = inspector {
                    self.release_inspector(transport, inspector);
                }
            }
        }
    }

    /// Ends of a flow that are proven to take part, by its TCP headers and by all of its evidence, that of
    /// `findings` included.
    pub fn proven(&mut self, handle: Handle, findings: &Findings) -> Ends {
        let Some(flow) = self.flows.get_mut(handle) else {
            return Ends::NONE;
        };
        for evidence in findings.evidence() {
            flow.proves = flow.proves.union(evidence.proves);
        }
        flow.proves.union(flow.tcp.proven())
    }

    /// The surest evidence of each speaker, once whenever `proven` is more than it was reported with.
    pub fn newly_proven(&mut self, handle: Handle, proven: Ends) -> [Option<Remembered>; 2] {
        let watch = self.flows.get(handle).and_then(|flow| flow.watch);
        match watch.and_then(|watch| self.watches.get_mut(watch)) {
            Some(watch) if watch.reported != proven => {
                watch.reported = proven;
                watch.best
            }
            Some(_) | None => [None; 2],
        }
    }

    /// Whether an end of a flow has given more than weak evidence itself.
    pub fn has_spoken(&self, handle: Handle, side: Side) -> bool {
        let watch = self.flows.get(handle).and_then(|flow| flow.watch);
        let best = watch.and_then(|watch| self.watches.get(watch)?.best.get(side.index()).copied()?);
        best.is_some_and(|best| best.evidence.confidence >= Confidence::Strong)
    }

    /// Remembers evidence that is reported with `proven`.
    pub fn remember(&mut self, handle: Handle, at: Timestamp, seen: Remembered, proven: Ends) {
        let Some(flow) = self.flows.get_mut(handle) else {
            return;
        };
        if flow.watch.is_none() {
            flow.watch = self.watches.claim();
            if let Some(watch) = flow.watch.and_then(|watch| self.watches.get_mut(watch)) {
                *watch = Watch::new();
                watch.armed = at;
            }
        }
        if let Some(watch) = flow.watch.and_then(|watch| self.watches.get_mut(watch)) {
            watch.reported = proven;
            watch.remember(seen);
        }
    }
}
