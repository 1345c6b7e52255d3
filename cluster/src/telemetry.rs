//! Logs and traces. W3C trace context rides in the message header, so a span goes on in the next process.

use std::collections::{BTreeSet, VecDeque};

use alys_proto::{Cause, Role};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, TelemetryConfig};
use crate::executor::Activity;
use crate::exit::ActorError;
use crate::header::{Header, Trace};
use crate::identity::Identity;

/// Libraries that warn of what strangers send or of what we report better ourselves: a line for each would let a peer fill the
/// disk.
const QUIET: &str = "ractor=error,ractor_cluster=off,libp2p_gossipsub=error,libp2p_request_response=error";

/// Flushes what is still to be exported when it is dropped.
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // At exit there is nobody left to tell that a collector is away.
        let _flushed = self.provider.shutdown();
    }
}

/// Starts logs and traces of this process. Call once, inside the runtime.
pub fn init(config: &TelemetryConfig, identity: &Identity) -> Result<Telemetry, ActorError> {
    let filter = EnvFilter::try_new(format!("{},{QUIET}", config.filter))
        .map_err(|cause| ActorError::Configuration(format!("telemetry.filter `{}`: {cause}", config.filter)))?;
    let resource = Resource::builder()
        .with_service_name(service_of(identity.role))
        .with_attributes([
            KeyValue::new("service.instance.id", identity.incarnation.to_string()),
            KeyValue::new("alys.instance", identity.instance.clone()),
        ])
        .build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.clone())
            .build()
            .map_err(|cause| ActorError::Configuration(format!("telemetry.otlp_endpoint `{endpoint}`: {cause}")))?;
        provider = provider.with_batch_exporter(exporter);
    }
    let provider = provider.build();
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("alys"));
    let logs = match config.format {
        LogFormat::Json => json_lines(crate::inspect::Stderr).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(crate::inspect::Stderr).with_target(false).boxed(),
    };
    // A second call, as tests of one process make, keeps the first subscriber.
    let _already_set = tracing_subscriber::registry().with(filter).with(traces).with(logs).try_init();
    Ok(Telemetry { provider })
}

/// A collector's name for a process. The one that is no role of the cluster is the governance node.
fn service_of(role: Role) -> String {
    format!("alys-{}", if role == Role::Unspecified { "governance" } else { role.name() })
}

/// One JSON object a line, with the fields of the span that the event is in: the trace id is among them.
fn json_lines<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_writer(writer).json().flatten_event(true).with_current_span(true).with_span_list(false)
}

/// The span of one message, child of the sender's.
pub(crate) fn message_span(service: &'static str, name: &'static str, header: &Header) -> Span {
    let span = tracing::info_span!("message", otel.name = %format_args!("{service}.{name}"), role = service, name, from = header.sender.name(), trace_id = tracing::field::Empty);
    if let Some(trace) = header.stamp.trace
        && !span.is_disabled()
    {
        attach(&span, Context::new().with_remote_span_context(trace.context()));
    }
    span
}

/// The span of one step in the life of a thing that outlives every process (a deposit, a burn, a block). All steps under
/// the same key are one trace, whatever process takes them and however often it was restarted: the trace id *is* the
/// key's hash, so nothing has to be stored or passed on.
pub fn step_of(kind: &'static str, step: &'static str, key: &[u8]) -> Span {
    let span = tracing::info_span!("step", otel.name = %format_args!("{kind}.{step}"), kind, step, key = %hex::encode(key), trace_id = tracing::field::Empty);
    attach(&span, Context::new().with_remote_span_context(root_of(kind, key)));
    link_to_causes(&span);
    span
}

/// The span of a role's start. All starts of a role are one trace, and every step that it takes links to the start that it
/// was taken after: a restart in the middle of a deposit shows.
pub(crate) fn start_span(service: &'static str) -> Span {
    step_of("life", "start", service.as_bytes())
}

/// The trace id of all starts of a role, as hexadecimal digits.
pub fn life_trace_id(service: &str) -> String {
    root_of("life", service.as_bytes()).trace_id().to_string()
}

/// A step belongs to the trace of its thing, so what led to it here is linked: the message in hand and the process's start.
fn link_to_causes(span: &Span) {
    let message = context_of(&Span::current());
    for cause in [Some(message), Activity::started()].into_iter().flatten() {
        if cause.is_valid() {
            span.add_link(cause);
        }
    }
}

/// What others link to.
pub(crate) fn context_of(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

/// The trace id of everything that happens to one thing, as hexadecimal digits.
pub fn trace_id_of(cause: &Cause) -> String {
    root_of(cause.kind(), cause.key()).trace_id().to_string()
}

/// Steps that this process has taken, so that work which is repeated until a chain shows its effect is told once.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    taken: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Steps {
    /// Steps that are remembered: a thousand deposits and burns with up to eight steps each, 128 KiB. An older step that
    /// is taken again is told again.
    const REMEMBERED: usize = 8_192;

    /// The span of a step when it is taken for the first time. `by`: whose step it is when several take the same one.
    pub fn first(&mut self, step: &'static str, by: &str, cause: &Cause) -> Option<Span> {
        let parts: [&[u8]; 5] = [cause.kind().as_bytes(), step.as_bytes(), b" ", by.as_bytes(), cause.key()];
        let name = fnv1a(&parts);
        if !self.taken.insert(name) {
            return None;
        }
        self.order.push_back(name);
        if self.order.len() > Self::REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.taken.remove(&oldest);
        }
        Some(step_of(cause.kind(), step, cause.key()))
    }
}

/// The context that all steps of one thing descend from.
fn root_of(kind: &str, key: &[u8]) -> SpanContext {
    let [first, second] = [0u8, 1].map(|half| fnv1a(&[&[half], kind.as_bytes(), key]));
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&first.to_be_bytes());
    trace_id[8..].copy_from_slice(&second.to_be_bytes());
    let span_id = second.to_be_bytes();
    SpanContext::new(TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id), TraceFlags::SAMPLED, true, TraceState::default())
}

/// FNV-1a, 64 bits: a stable spread for trace ids, where nothing depends on collisions.
fn fnv1a(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn attach(span: &Span, parent: Context) {
    let trace_id = parent.span().span_context().trace_id().to_string();
    // Fails only when no OpenTelemetry layer is installed, as in unit tests.
    let _no_layer = span.set_parent(parent);
    span.record("trace_id", trace_id.as_str());
}

/// Trace context of the current span, for the header; `None` when there is none.
pub(crate) fn current_trace() -> Option<Trace> {
    let span = Span::current();
    if span.is_disabled() { None } else { Trace::of(&context_of(&span)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn one_thing_is_one_trace() {
        let deposit = root_of("peg-in", b"outpoint");
        assert_eq!(deposit.trace_id(), root_of("peg-in", b"outpoint").trace_id());
        assert_ne!(deposit.trace_id(), root_of("peg-out", b"outpoint").trace_id());
        assert_ne!(deposit.trace_id(), root_of("peg-in", b"another").trace_id());
    }

    #[test]
    fn a_step_is_told_once_and_memory_is_bounded() {
        let mut steps = Steps::default();
        let burn = |height| Cause::burn(height, 0);
        assert!(steps.first("seen", "", &burn(0)).is_some());
        assert!(steps.first("seen", "", &burn(0)).is_none());
        assert!(steps.first("recorded", "", &burn(0)).is_some());
        assert!(steps.first("seen", "a-member", &burn(0)).is_some());
        for height in 1..=8_192 {
            assert!(steps.first("seen", "", &burn(height)).is_some());
        }
        assert_eq!((steps.taken.len(), steps.order.len()), (Steps::REMEMBERED, Steps::REMEMBERED));
        assert!(steps.first("seen", "", &burn(0)).is_some(), "the oldest is forgotten");
    }

    /// What `tail`ing the logs for a trace id rests on.
    #[test]
    fn a_json_line_of_a_step_carries_its_trace_id() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let writer = move || Written(written.clone());
        let provider = SdkTracerProvider::builder().build();
        let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let logs = json_lines(writer);
        let cause = Cause::deposit(&[7; 32], 1);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(traces).with(logs), || {
            step_of(cause.kind(), "detected", cause.key()).in_scope(|| tracing::info!("deposit detected"));
        });
        let lines = lines.lock().map(|lines| String::from_utf8_lossy(&lines).into_owned()).unwrap_or_default();
        assert!(lines.contains(&format!("\"trace_id\":\"{}\"", trace_id_of(&cause))), "{lines}");
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }

    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
