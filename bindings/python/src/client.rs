//! The client: the six calls, and whatever else the core's client can do.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyTypeInfo, PyVisit};
use segment_native::{Api, Call, Choice, Error, ErrorKind, Object, Options, Request, Time, Value, bindings};

use crate::call::Response;
use crate::ending::Inside;
use crate::error::{self, Problem, guard};
use crate::hooks::{self, Hooks};
use crate::message::{self, Message};
use crate::settings::{self, seconds_of};
use crate::stats::Stats;
use crate::{time, value};

type Any<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// How long Ctrl-C may take to be noticed.
const SLICE: Duration = Duration::from_millis(500);

/// The native half of `segment_native.Client`, which opens it.
#[pyclass(frozen, subclass, module = "segment_native._native")]
pub(crate) struct Client {
    core: OnceLock<Core>,
    hooks: Arc<Hooks>,
}

struct Core {
    client: segment_native::Client,
    shutdown: Duration,
    stateful: bool,
    /// A call may wait for a callback that needs the GIL, so calls release it.
    detaches: bool,
    sync_mode: bool,
    /// How long a call waits in sync mode. None: until its message is settled; a spool never gives up, and keeps it.
    sync_wait: Option<f64>,
    debug: bool,
    queue_max: u64,
    opened: Instant,
    /// The second, counted from `opened`, of the last warning about a message that was not taken.
    warned: AtomicU64,
}

/// Objects that are reused, so that a call allocates no memory.
#[derive(Default)]
struct Scratch {
    payload: Object,
    context: Object,
    integrations: Object,
}

thread_local! {
    // Taken while it is used: Python code that runs meanwhile, in a finalizer perhaps, may call too.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// The arguments of one of the six calls.
struct Arguments<'a, 'py> {
    call: Call,
    user_id: Any<'a, 'py>,
    subject: Any<'a, 'py>,
    category: Any<'a, 'py>,
    payload: Any<'a, 'py>,
    rest: Rest<'a, 'py>,
}

/// Those that all calls have.
struct Rest<'a, 'py> {
    context: Any<'a, 'py>,
    timestamp: Any<'a, 'py>,
    anonymous_id: Any<'a, 'py>,
    integrations: Any<'a, 'py>,
    message_id: Any<'a, 'py>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    fn of(call: Call, user_id: Any<'a, 'py>, rest: Rest<'a, 'py>) -> Self {
        Arguments { call, user_id, subject: None, category: None, payload: None, rest }
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Client { core: OnceLock::new(), hooks: Arc::default() }
    }

    /// Makes the client, from a dict of settings.
    fn _open(&self, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = settings.py();
        guard(py, || {
            if self.core.get().is_some() {
                return Err(error::raise(py, &Error::invalid("a client cannot be initialised again")));
            }
            let mut config = settings::config(settings).map_err(|problem| problem.raise(py))?;
            self.hooks.install(settings, &mut config)?;
            let is_set = |name: &str| -> PyResult<bool> {
                settings.get_item(name)?.map_or(Ok(false), |value| value.is_truthy())
            };
            let queue_max = settings.get_item("max_queue_size")?.filter(|max| !max.is_none());
            let (shutdown, stateful) = (config.shutdown, config.stateful);
            let sync_wait = config.spool_dir.is_some().then_some(shutdown.as_secs_f64());
            let detaches = stateful || config.before_send.is_some();
            // What is made once must be made before there are other threads: a fork could leave it half made in the
            // child.
            error::support(py)?;
            let client = py.detach(|| {
                let _ = Python::try_attach(|_| ());
                segment_native::Client::new(config)
            });
            // It was raised for a lifecycle event: there is no call that could raise it.
            if let Some(raised) = hooks::take_raised() {
                error::log(py, "warning", &format!("before_send raised an exception: {raised}"));
            }
            let client = client.map_err(|e| error::raise(py, &e))?;
            let core = Core {
                client,
                shutdown,
                stateful,
                detaches,
                sync_mode: is_set("sync_mode")?,
                sync_wait,
                debug: is_set("debug")?,
                queue_max: queue_max.map_or(Ok(u64::MAX), |max| max.extract())?,
                opened: Instant::now(),
                warned: AtomicU64::new(0),
            };
            // No other thread has seen this client yet.
            let _ = self.core.set(core);
            Ok(())
        })
    }

    /// Says who the user is, and what is known about them.
    #[pyo3(signature = (
        user_id=None, traits=None, context=None, timestamp=None, anonymous_id=None, integrations=None,
        message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn identify<'py>(
        &self,
        py: Python<'py>,
        user_id: Any<'_, 'py>,
        traits: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        anonymous_id: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id, integrations, message_id };
        let arguments = Arguments { payload: traits, ..Arguments::of(Call::Identify, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Says what the user did.
    #[pyo3(signature = (
        user_id=None, event=None, properties=None, context=None, timestamp=None, anonymous_id=None,
        integrations=None, message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn track<'py>(
        &self,
        py: Python<'py>,
        user_id: Any<'_, 'py>,
        event: Any<'_, 'py>,
        properties: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        anonymous_id: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id, integrations, message_id };
        let arguments = Arguments { subject: event, payload: properties, ..Arguments::of(Call::Track, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Says which web page the user saw.
    #[pyo3(signature = (
        user_id=None, category=None, name=None, properties=None, context=None, timestamp=None, anonymous_id=None,
        integrations=None, message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn page<'py>(
        &self,
        py: Python<'py>,
        user_id: Any<'_, 'py>,
        category: Any<'_, 'py>,
        name: Any<'_, 'py>,
        properties: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        anonymous_id: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id, integrations, message_id };
        let arguments =
            Arguments { subject: name, category, payload: properties, ..Arguments::of(Call::Page, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Says which screen of an app the user saw.
    #[pyo3(signature = (
        user_id=None, category=None, name=None, properties=None, context=None, timestamp=None, anonymous_id=None,
        integrations=None, message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn screen<'py>(
        &self,
        py: Python<'py>,
        user_id: Any<'_, 'py>,
        category: Any<'_, 'py>,
        name: Any<'_, 'py>,
        properties: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        anonymous_id: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id, integrations, message_id };
        let arguments =
            Arguments { subject: name, category, payload: properties, ..Arguments::of(Call::Screen, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Says which company, team or account the user belongs to, and what is known about it.
    #[pyo3(signature = (
        user_id=None, group_id=None, traits=None, context=None, timestamp=None, anonymous_id=None,
        integrations=None, message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn group<'py>(
        &self,
        py: Python<'py>,
        user_id: Any<'_, 'py>,
        group_id: Any<'_, 'py>,
        traits: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        anonymous_id: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id, integrations, message_id };
        let arguments = Arguments { subject: group_id, payload: traits, ..Arguments::of(Call::Group, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Says that the user was known by another id before.
    #[pyo3(signature = (
        previous_id=None, user_id=None, context=None, timestamp=None, integrations=None, message_id=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn alias<'py>(
        &self,
        py: Python<'py>,
        previous_id: Any<'_, 'py>,
        user_id: Any<'_, 'py>,
        context: Any<'_, 'py>,
        timestamp: Any<'_, 'py>,
        integrations: Any<'_, 'py>,
        message_id: Any<'_, 'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let rest = Rest { context, timestamp, anonymous_id: None, integrations, message_id };
        let arguments = Arguments { subject: previous_id, ..Arguments::of(Call::Alias, user_id, rest) };
        guard(py, || self.send(py, &arguments))
    }

    /// Sends what waits, and waits until all of it is settled, for `timeout` seconds at most; returns whether it is.
    fn _flush(&self, py: Python<'_>, timeout: Option<f64>, in_slices: bool) -> PyResult<bool> {
        guard(py, || {
            let core = self.core(py)?;
            let limit = timeout.map(|t| seconds_of("timeout", t)).transpose().map_err(|e| error::raise(py, &e))?;
            let client = &core.client;
            wait(py, client, limit.unwrap_or(Duration::MAX), in_slices, |_, slice| client.flush(slice))
        })
    }

    /// Takes no more messages, and goes on delivering for `timeout` seconds; returns whether nothing is left.
    fn _shutdown(&self, py: Python<'_>, timeout: Option<f64>, in_slices: bool) -> PyResult<bool> {
        guard(py, || {
            let core = self.core(py)?;
            let timeout = timeout.map_or(Ok(core.shutdown), |timeout| seconds_of("timeout", timeout));
            let timeout = timeout.map_err(|e| error::raise(py, &e))?;
            let client = &core.client;
            wait(py, client, timeout, in_slices, |left, slice| bindings::shutdown_waiting(client, left, slice))
        })
    }

    /// Delivers for as long as the settings allow and frees everything; afterwards no callback runs.
    fn _end(&self, py: Python<'_>) -> PyResult<()> {
        guard(py, || {
            if let Some(core) = self.core.get() {
                py.detach(|| bindings::end(&core.client));
            }
            Ok(())
        })
    }

    /// Queues a whole message, `{"type": "track", ...}`, as a dict, a `Message` or JSON text. What it lacks of
    /// `messageId`, `timestamp` and `context` is added.
    fn _enqueue(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(py, || {
            let core = self.core(py)?;
            let json = match message.cast::<PyString>() {
                Ok(json) => Ok(value::text(json)),
                Err(_) => message::text(message, "message", "message must be a Message, a dict or JSON text"),
            };
            let json = json.map_err(|problem| {
                bindings::refuse(&core.client, problem.to_error(py));
                problem.raise(py)
            })?;
            raising(py, || core.client.enqueue(&json))?;
            if core.sync_mode {
                self._flush(py, core.sync_wait, true)?;
            }
            Ok(())
        })
    }

    /// Counts of messages.
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        Ok(self.core(py)?.client.stats().into())
    }

    /// One request, now.
    #[pyo3(signature = (api, method, path, query, cursor, headers, body, timeout))]
    #[allow(clippy::too_many_arguments)]
    fn _call(
        &self,
        py: Python<'_>,
        api: &str,
        method: &str,
        path: &str,
        query: Option<&str>,
        cursor: Option<&str>,
        headers: Vec<(String, String)>,
        body: &[u8],
        timeout: Option<f64>,
    ) -> PyResult<Response> {
        guard(py, || {
            let core = self.core(py)?;
            let request = || -> Result<_, Error> {
                let api = match api {
                    "tracking" => Api::Tracking,
                    "public" => Api::Public,
                    "profile" => Api::Profile,
                    _ => return Err(Error::invalid("api must be \"tracking\", \"public\" or \"profile\"")),
                };
                Ok((api, timeout.map(|timeout| seconds_of("timeout", timeout)).transpose()?))
            };
            let (api, timeout) = request().map_err(|error| error::raise(py, &error))?;
            let answer = py.detach(|| {
                let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                core.client.call(&Request {
                    api,
                    method,
                    path,
                    query,
                    cursor,
                    headers: &headers,
                    body,
                    timeout,
                    ..Request::default()
                })
            });
            let answer = answer.map_err(|error| error::raise(py, &error))?;
            Ok(Response(answer))
        })
    }

    /// From now on every message says what the user agreed to: a dict with a bool for each category. None: messages no
    /// longer say anything about it.
    #[pyo3(signature = (categories))]
    fn set_consent(&self, py: Python<'_>, categories: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        guard(py, || {
            let mut object = Object::new();
            if let Some(categories) = categories {
                value::fill(&mut object, categories).map_err(|problem| problem.in_argument("categories").raise(py))?;
            }
            let core = self.core(py)?;
            let categories = categories.is_some().then_some(&object);
            raising(py, || core.client.set_consent(categories))
        })
    }

    /// Sets one member of the context of every later message, or removes it (None).
    #[pyo3(signature = (key, value))]
    fn set_context(&self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(py, || {
            let core = self.core(py)?;
            let mut object = Object::new();
            if !value.is_none() {
                let set = value::set(&mut object, key, value);
                set.map_err(|problem| {
                    bindings::refuse(&core.client, Error::invalid("value"));
                    problem.in_argument("value").raise(py)
                })?;
            }
            raising(py, || match object.error() {
                Some(error) => Err(bindings::refuse(&core.client, error.clone())),
                None => core.client.set_context(key, object.get_json(key).map(Value::Json)),
            })
        })
    }

    /// Sends nothing until `resume`, and keeps all messages. Meanwhile `flush` and `shutdown` return `False` at once
    /// while anything waits.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, |client| {
            client.pause();
            Ok(())
        })
    }

    /// Ends the pause: what waits is sent.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, |client| {
            client.resume();
            Ok(())
        })
    }

    /// Why nothing arrives: what stands in the way right now, as a sentence; None if no problem is known.
    #[getter]
    fn last_problem(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.core(py)?.client.last_problem())
    }

    /// The user does not want to be tracked: from now on nothing is taken and nothing is sent, and what waits is thrown
    /// away. This lasts until `opt_in`, with a spool in later runs too.
    fn opt_out(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, |client| client.opt_out())
    }

    /// The user agrees to be tracked, for the first time or again: what is held (`ask_first`) is released.
    fn opt_in(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, |client| client.opt_in())
    }

    /// Whether the user has opted out.
    #[getter]
    fn opted_out(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core(py)?.client.is_opted_out())
    }

    /// What the user has answered, with or without `ask_first`: "in", "out" or, as long as they have not, None. "out"
    /// is also returned for what counts as a no.
    #[getter]
    fn opt_state(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        Ok(match self.core(py)?.client.opt_state() {
            Choice::In => Some("in"),
            Choice::Out => Some("out"),
            _ => None,
        })
    }

    /// Forgets the user of a stateful client, at a logout for example, and makes a new anonymous id.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, |client| client.reset())
    }

    /// The user id that a stateful client was given last.
    #[getter]
    fn user_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.core(py)?.client.user_id())
    }

    /// The anonymous id of a stateful client.
    #[getter]
    fn anonymous_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.core(py)?.client.anonymous_id())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(&visit)
    }

    fn __clear__(&self) {
        self.hooks.clear();
    }
}

impl Client {
    fn core(&self, py: Python<'_>) -> PyResult<&Core> {
        self.core.get().ok_or_else(|| error::raise(py, &Error::invalid("the client was not initialised")))
    }

    fn detached(
        &self,
        py: Python<'_>,
        what: impl FnOnce(&segment_native::Client) -> Result<(), Error> + Send,
    ) -> PyResult<()> {
        guard(py, || {
            let core = self.core(py)?;
            raising(py, || what(&core.client))
        })
    }

    fn send<'py>(&self, py: Python<'py>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
        let core = self.core(py)?;
        let Some(inside) = Inside::enter() else {
            return (PyBool::new(py, false), Message::new((*b"{}").into()).into_pyobject(py)?).into_pyobject(py);
        };
        // What `before_send` raised for an earlier message does not belong to this one.
        drop(hooks::take_raised());
        let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let sent = core.send(py, arguments, &mut scratch);
        let _ = SCRATCH.try_with(|cell| cell.set(Some(scratch)));
        let json = match sent {
            Ok(seen) => seen.unwrap_or_default(),
            Err((Problem::Core(error), seen)) => match error.kind() {
                // No message is written about a user who has opted out.
                ErrorKind::QueueFull | ErrorKind::Closed | ErrorKind::OptedOut => {
                    return core.not_taken(py, &error, seen.unwrap_or((*b"{}").into()));
                }
                _ => return Err(hooks::take_raised().unwrap_or_else(|| error::raise(py, &error))),
            },
            Err((Problem::Python(error), _)) => return Err(error),
        };
        if core.sync_mode {
            drop(inside);
            self._flush(py, core.sync_wait, true)?;
            if let Some((error, status)) = self.hooks.take_failure(&json) {
                return Err(error::raise_answer(py, &error, status));
            }
        }
        let message = Message::new(json).into_pyobject(py)?;
        if core.debug {
            error::support(py)?.call_method1("queueing", (&message,))?;
        }
        (PyBool::new(py, true), message).into_pyobject(py)
    }
}

impl Core {
    /// Sends a message; returns its bytes, or why it was not taken.
    #[allow(clippy::type_complexity)]
    fn send(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'_, '_>,
        scratch: &mut Scratch,
    ) -> Result<Option<Box<[u8]>>, (Problem, Option<Box<[u8]>>)> {
        let (mut json, mut reached) = (None, false);
        self.send_seen(py, arguments, scratch, &mut json, &mut reached).map_err(|problem| {
            if !reached {
                // It failed before the core could count it.
                bindings::refuse(&self.client, problem.to_error(py));
            }
            (problem, json.take())
        })?;
        Ok(json)
    }

    fn send_seen(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'_, '_>,
        scratch: &mut Scratch,
        json: &mut Option<Box<[u8]>>,
        reached: &mut bool,
    ) -> Result<(), Problem> {
        let call = arguments.call;
        let ids = self.ids(py, arguments)?;
        let Scratch { payload, context, integrations } = scratch;
        let payload_name = call.payload().unwrap_or_default();
        let payload = object(payload_name, arguments.payload, payload)?;
        let subject = match (call, arguments.subject) {
            (Call::Track, event) => Some(required_text("event", event, py)?),
            (Call::Page | Call::Screen, name) => optional_text("name", name)?,
            (Call::Group, Some(_)) | (Call::Alias, Some(_)) => arguments.subject.map(id_text).transpose()?,
            _ => None,
        };
        let category = optional_text("category", arguments.category)?;
        let timestamp = match arguments.rest.timestamp {
            None => None,
            Some(given) if time::DATETIME.has(given)? => match time::milliseconds(given)? {
                Some(ms) => Some(Time::Ms(ms)),
                None => {
                    error::log(py, "warning", "timestamp is not a time (NaT): the message has the time of the call");
                    None
                }
            },
            Some(given) => return Err(must_have(py, "timestamp", "datetime", given)),
        };
        let message_id = arguments.rest.message_id.map(id_text).transpose()?;
        let options = Options {
            timestamp,
            anonymous_id: ids.1.as_deref(),
            message_id: message_id.as_deref(),
            context: object("context", arguments.rest.context, context)?,
            integrations: object("integrations", arguments.rest.integrations, integrations)?,
            category: category.as_deref(),
            ..Options::default()
        };
        let message =
            segment_native::Message { call, user_id: ids.0.as_deref(), subject: subject.as_deref(), payload, options };
        let mut seen = |bytes: &[u8]| {
            *json = Some(bytes.into());
            if self.queue_max != u64::MAX && self.client.stats().queued >= self.queue_max {
                return Err(Error::new(ErrorKind::QueueFull, "the queue is full"));
            }
            Ok(())
        };
        *reached = true;
        match self.detaches {
            false => bindings::send_seen(&self.client, &message, &mut seen)?,
            true => py.detach(|| bindings::send_seen(&self.client, &message, &mut seen))?,
        }
        Ok(())
    }

    /// The user id and the anonymous id.
    #[allow(clippy::type_complexity)]
    fn ids<'a>(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'a, '_>,
    ) -> Result<(Option<Cow<'a, str>>, Option<Cow<'a, str>>), Problem> {
        let (user_id, anonymous_id) = (arguments.user_id, arguments.rest.anonymous_id);
        // The most common case by far.
        if let (Some(id), None) = (user_id, anonymous_id)
            && id.get_type_ptr() == PyString::type_object_raw(py)
            && !matches!(arguments.call, Call::Alias | Call::Group)
        {
            let text = value::text(id.cast_exact::<PyString>()?);
            if !text.is_empty() {
                return Ok((Some(text), None));
            }
        }
        match arguments.call {
            Call::Alias => {
                if !(self.stateful && arguments.subject.is_none()) {
                    check_id(py, "previous_id", arguments.subject)?;
                }
                check_id(py, "user_id", user_id)?;
            }
            _ => {
                let given = match user_id {
                    Some(id) if id.is_truthy()? => user_id,
                    _ => anonymous_id,
                };
                if !(self.stateful && user_id.is_none() && anonymous_id.is_none()) {
                    check_id(py, "user_id or anonymous_id", given)?;
                }
                if arguments.call == Call::Group {
                    check_id(py, "group_id", arguments.subject)?;
                }
            }
        }
        let (user, anonymous) = (user_id.map(id_text).transpose()?, anonymous_id.map(id_text).transpose()?);
        // An empty id counts as none if the other is given.
        let is_filled = |id: &Option<Cow<'_, str>>| id.as_ref().is_some_and(|id| !id.is_empty());
        match (is_filled(&user), is_filled(&anonymous)) {
            (true, false) => Ok((user, None)),
            (false, true) => Ok((None, anonymous)),
            _ => Ok((user, anonymous)),
        }
    }

    /// What a call returns whose message was not taken.
    #[cold]
    fn not_taken<'py>(&self, py: Python<'py>, error: &Error, json: Box<[u8]>) -> PyResult<Bound<'py, PyTuple>> {
        // Once a second is enough.
        let now = self.opened.elapsed().as_secs() + 1;
        if error.kind() != ErrorKind::OptedOut && self.warned.swap(now, Ordering::Relaxed) != now {
            error::log(py, "warning", &format!("a message was not taken: {error}"));
        }
        (PyBool::new(py, false), Message::new(json).into_pyobject(py)?).into_pyobject(py)
    }
}

/// Runs `what` in the core. If it fails, raises why: what `before_send` raised, if that is the reason.
fn raising(py: Python<'_>, what: impl FnOnce() -> Result<(), Error> + Send) -> PyResult<()> {
    // What `before_send` raised for an earlier message does not belong to this one.
    drop(hooks::take_raised());
    py.detach(what).map_err(|error| hooks::take_raised().unwrap_or_else(|| error::raise(py, &error)))
}

/// Waits for `limit` at most by calling `what` with the time left and the time it may wait now; returns whether what it
/// waits for has happened. Only the main thread handles signals, and only between two waits.
fn wait(
    py: Python<'_>,
    client: &segment_native::Client,
    limit: Duration,
    in_slices: bool,
    what: impl Fn(Duration, Duration) -> Result<(), Error> + Sync,
) -> PyResult<bool> {
    let until = Instant::now().checked_add(limit);
    loop {
        let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let slice = if in_slices { left.min(SLICE) } else { left };
        match py.detach(|| what(left, slice)) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() != ErrorKind::Timeout => return Err(error::raise(py, &error)),
            // There is no point in waiting for what is not sent.
            Err(_) if slice == left || client.is_paused() || client.stats().held > 0 => return Ok(false),
            Err(_) => py.check_signals()?,
        }
    }
}

/// Reads a dict into an object. Whatever is false counts as none, as in segment-analytics-python.
fn object<'o>(name: &str, given: Any<'_, '_>, object: &'o mut Object) -> Result<Option<&'o Object>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let Ok(dict) = given.cast::<PyDict>() else {
        return match given.is_truthy()? {
            true => Err(must_have(given.py(), name, "dict", given)),
            false => Ok(None),
        };
    };
    if dict.is_empty() {
        return Ok(None);
    }
    object.clear();
    value::fill(object, dict).map_err(|problem| problem.in_argument(name))?;
    Ok(Some(object))
}

fn required_text<'a>(name: &str, given: Any<'a, '_>, py: Python<'_>) -> Result<Cow<'a, str>, Problem> {
    match given.map(|given| given.cast::<PyString>()) {
        Some(Ok(string)) => Ok(value::text(string)),
        _ => {
            let none = py.None();
            Err(must_have(py, name, "str", given.unwrap_or(none.bind(py))))
        }
    }
}

fn optional_text<'a>(name: &str, given: Any<'a, '_>) -> Result<Option<Cow<'a, str>>, Problem> {
    match given {
        Some(given) if given.is_truthy()? => required_text(name, Some(given), given.py()).map(Some),
        _ => Ok(None),
    }
}

/// The text of an id, which may be a number.
fn id_text<'a>(id: &'a Bound<'_, PyAny>) -> Result<Cow<'a, str>, Problem> {
    match id.cast::<PyString>() {
        Ok(string) => Ok(value::text(string)),
        Err(_) => Ok(Cow::Owned(value::text(&id.str()?).into_owned())),
    }
}

fn check_id(py: Python<'_>, name: &str, id: Any<'_, '_>) -> Result<(), Problem> {
    if id.is_some_and(|id| id.is_instance_of::<PyString>()) {
        return Ok(());
    }
    error::support(py)?.call_method1("check_id", (name, id))?;
    Ok(())
}

/// The error of an argument that has the wrong type.
#[cold]
fn must_have(py: Python<'_>, name: &str, kind: &str, given: &Bound<'_, PyAny>) -> Problem {
    let made = error::support(py).and_then(|support| support.call_method1("must_have", (name, kind, given)));
    Problem::Python(made.map_or_else(|problem| problem, PyErr::from_value))
}

impl Drop for Client {
    /// The core may wait for a callback that needs the GIL.
    fn drop(&mut self) {
        let Some(core) = self.core.take() else { return };
        let mut core = Some(core);
        let _ = Python::try_attach(|py| py.detach(|| core.take()));
        drop(core);
    }
}
