//! From a dict of settings, made by `segment_native.client`, to the core's configuration.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use segment_native::{Config, Error, OAuth, Object, Overflow};

use crate::error::Problem;
use crate::value;

struct Settings<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Settings<'_, 'py> {
    fn get<T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.0.get_item(name)?.filter(|value| !value.is_none()) else { return Ok(None) };
        let extracted = value.extract::<T>();
        let wrong = |error: PyErr| Problem::from(Error::invalid(format!("{name}: {error}")));
        extracted.map(Some).map_err(|error| wrong(error.into()))
    }

    fn put<T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>>(&self, name: &str, to: &mut T) -> Result<(), Problem> {
        if let Some(value) = self.get(name)? {
            *to = value;
        }
        Ok(())
    }

    fn put_seconds(&self, name: &str, to: &mut Duration) -> Result<(), Problem> {
        if let Some(seconds) = self.get::<f64>(name)? {
            *to = seconds_of(name, seconds)?;
        }
        Ok(())
    }

    /// On Unix a path is bytes, and Python may pass bytes; os.fsencode takes whatever open() takes.
    fn path(&self, name: &str) -> Result<Option<PathBuf>, Problem> {
        let Some(given) = self.get::<Bound<'_, PyAny>>(name)? else { return Ok(None) };
        let wrong = |error: PyErr| Problem::from(Error::invalid(format!("{name}: {error}")));
        path(&given).map(Some).map_err(wrong)
    }

    fn put_object(&self, name: &str, to: &mut Object) -> Result<(), Problem> {
        if let Some(dict) = self.get::<Bound<'_, PyDict>>(name)? {
            value::fill(to, &dict).map_err(|problem| problem.in_argument(name))?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn path(given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Vec<u8> = given.py().import("os")?.call_method1("fsencode", (given,))?.extract()?;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path(given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    given.py().import("os")?.call_method1("fsdecode", (given,))?.extract()
}

/// A number of seconds that can be waited.
pub(crate) fn seconds_of(name: &str, seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::invalid(format!("{name} must be a number of seconds and not negative")))
}

fn not_zero(name: &str, is_zero: bool) -> Result<(), Error> {
    if is_zero { Err(Error::invalid(format!("{name} must not be zero"))) } else { Ok(()) }
}

pub(crate) fn config(settings: &Bound<'_, PyDict>) -> Result<Config, Problem> {
    let from = Settings(settings);
    let mut config = Config::new(from.get::<String>("write_key")?.unwrap_or_default());
    from.put("host", &mut config.endpoint)?;
    config.spool_dir = from.path("spool_dir")?;
    from.put("sync", &mut config.sync)?;
    from.put("queue_max_bytes", &mut config.queue_max_bytes)?;
    if from.get::<bool>("drop_oldest")? == Some(true) {
        config.overflow = Overflow::DropOldest;
    }
    // Both have two names; an error names the one that was given.
    for name in ["upload_size", "flush_at"] {
        from.put(name, &mut config.flush_at)?;
        not_zero(name, config.flush_at == 0)?;
    }
    for name in ["upload_interval", "flush_interval"] {
        from.put_seconds(name, &mut config.flush_interval)?;
        not_zero(name, config.flush_interval.is_zero())?;
    }
    from.put("thread", &mut config.uploads)?;
    not_zero("thread", from.get::<u32>("thread")? == Some(0))?;
    // The core's error would name `uploads`, which is called `thread` here.
    if config.uploads > 64 {
        return Err(Error::invalid("thread must be at most 64").into());
    }
    from.put("max_retries", &mut config.retry_max)?;
    from.put_seconds("timeout", &mut config.timeout)?;
    from.put_seconds("shutdown_timeout", &mut config.shutdown)?;
    from.put("gzip", &mut config.gzip)?;
    from.put("dry_run", &mut config.dry_run)?;
    from.put_object("context", &mut config.context)?;
    from.put_object("integrations", &mut config.integrations)?;
    from.put("stateful", &mut config.stateful)?;
    from.put("ask_first", &mut config.ask_first)?;
    from.put("strict", &mut config.strict)?;
    from.put("device_context", &mut config.device_context)?;
    from.put("lifecycle", &mut config.lifecycle)?;
    config.proxy = from.get("proxy")?;
    config.ca_file = from.path("ca_file")?;
    if let Some(headers) = from.get::<Vec<(String, String)>>("headers")? {
        config.headers = headers;
    }
    if let Some((client_id, key_id, private_key)) = from.get::<(String, String, String)>("oauth")? {
        let mut oauth = OAuth::new(client_id, key_id, private_key);
        from.put("oauth_auth_server", &mut oauth.endpoint)?;
        from.put("oauth_scope", &mut oauth.scope)?;
        config.oauth = Some(oauth);
    }
    config.access_token = from.get("access_token")?;
    config.profile_token = from.get("profile_token")?;
    from.put("public_endpoint", &mut config.public_endpoint)?;
    from.put("profile_endpoint", &mut config.profile_endpoint)?;
    config.former_write_key = from.get("former_write_key")?;
    config.former_endpoint = from.get("former_endpoint")?;
    Ok(config)
}
