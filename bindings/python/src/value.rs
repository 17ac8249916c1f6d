//! From Python's values to JSON, straight into an object of the core.

use std::borrow::Cow;

use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};
use segment_native::bindings::{self, Writer};
use segment_native::{Error, Object};

use crate::error::{self, Problem};
use crate::time::{self, Class};

static DECIMAL: Class = Class::new("decimal", "Decimal");
static UUID: Class = Class::new("uuid", "UUID");
static ENUM: Class = Class::new("enum", "Enum");
static NUMPY: Class = Class::new("numpy", "generic");
static NUMPY_TIME: Class = Class::new("numpy", "datetime64");
static PANDAS_NA: Class = Class::new("pandas._libs.missing", "NAType");

/// Whether a value was written. What JSON cannot express is left out of the dict it is in, with a warning.
type Written = Result<bool, Problem>;

/// How many times the value of an Enum or a scalar may be another one.
const HELD_MAX: usize = 64;

/// A dict as the text of a whole message. Members that are None are left out.
pub(crate) fn message_json(message: &Bound<'_, PyDict>) -> Result<String, Problem> {
    let filled = PyDict::new(message.py());
    for item in items(message) {
        let (key, value) = item?;
        if !value.is_none() {
            filled.set_item(key, value)?;
        }
    }
    let mut object = bindings::object_for_message();
    fill(&mut object, &filled)?;
    Ok(object.to_json()?)
}

/// The items of a dict. Python code that is run for a value may change it: that is an error, where pyo3 would panic.
fn items<'a, 'py>(
    dict: &'a Bound<'py, PyDict>,
) -> impl Iterator<Item = Result<(Bound<'py, PyAny>, Bound<'py, PyAny>), Error>> + use<'a, 'py> {
    let (length, mut items) = (dict.len(), dict.iter());
    let mut left = length;
    std::iter::from_fn(move || {
        if dict.len() != length {
            return Some(Err(Error::invalid("changed while it was read")));
        }
        left = left.checked_sub(1)?;
        items.next().map(Ok)
    })
}

/// Fills an object with what is in a dict.
pub(crate) fn fill(object: &mut Object, dict: &Bound<'_, PyDict>) -> Result<(), Problem> {
    // A dict has no key twice; but the number 1 and the text "1" have the same name.
    let mut is_new = object.is_empty();
    for item in items(dict) {
        let (key, value) = item?;
        let name = key_text(&key)?;
        is_new &= matches!(name, Cow::Borrowed(_));
        let set = bindings::set_with(object, &name, is_new, |writer| write_or_warn(writer, &key, &value));
        set.map_err(|problem| problem.in_argument(&format!("\"{name}\"")))?;
    }
    Ok(())
}

/// Sets a member, whose value must be one that JSON can express.
pub(crate) fn set(object: &mut Object, name: &str, value: &Bound<'_, PyAny>) -> Result<(), Problem> {
    bindings::set_with(object, name, true, |writer| match write(writer, value)? {
        true => Ok(true),
        false => Err(Error::invalid(format!("a value of type {} has no JSON", value.get_type().name()?)).into()),
    })
}

/// The text of a string. A lone surrogate, which is not valid Unicode, is replaced.
pub(crate) fn text<'a>(string: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    string.to_str().map_or_else(|_| string.to_string_lossy(), Cow::Borrowed)
}

fn key_text<'a>(key: &'a Bound<'_, PyAny>) -> Result<Cow<'a, str>, Problem> {
    if key.get_type_ptr() == PyString::type_object_raw(key.py()) {
        return Ok(text(key.cast_exact::<PyString>()?));
    }
    match key.cast::<PyString>() {
        Ok(string) => Ok(text(string)),
        Err(_) => Ok(Cow::Owned(error::support(key.py())?.call_method1("key", (key,))?.extract()?)),
    }
}

fn write_or_warn(writer: &mut Writer<'_>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Written {
    let is_written = write(writer, value)?;
    if !is_written {
        error::support(key.py())?.call_method1("unsupported", (key, value))?;
    }
    Ok(is_written)
}

fn write(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Written {
    let py = value.py();
    let kind = value.get_type_ptr();
    if kind == PyString::type_object_raw(py) {
        writer.str(&text(value.cast_exact::<PyString>()?))?;
    } else if kind == PyDict::type_object_raw(py) {
        return write_dict(writer, value.cast_exact::<PyDict>()?);
    } else if kind == PyInt::type_object_raw(py) {
        write_int(writer, value)?;
    } else if kind == PyFloat::type_object_raw(py) {
        writer.double(value.cast_exact::<PyFloat>()?.value())?;
    } else if kind == PyBool::type_object_raw(py) {
        writer.bool(value.cast_exact::<PyBool>()?.is_true())?;
    } else if value.is_none() {
        writer.null()?;
    } else if kind == PyList::type_object_raw(py) {
        return write_items(writer, value.cast_exact::<PyList>()?.iter());
    } else {
        return write_other(writer, value);
    }
    Ok(true)
}

fn write_int(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Result<(), Problem> {
    match value.extract::<i64>() {
        Ok(number) => writer.int(number)?,
        // Beyond 64 bits; a subclass may have its own text.
        Err(_) => {
            let digits = value.py().get_type::<PyInt>().call_method1("__repr__", (value,))?;
            writer.digits(&text(digits.cast::<PyString>()?))?;
        }
    }
    Ok(())
}

fn write_dict(writer: &mut Writer<'_>, dict: &Bound<'_, PyDict>) -> Written {
    writer.open_object()?;
    for item in items(dict) {
        let (key, value) = item?;
        let before = writer.mark();
        writer.name(&key_text(&key)?)?;
        if !write_or_warn(writer, &key, &value)? {
            writer.rewind(before);
        }
    }
    writer.close_object()?;
    Ok(true)
}

fn write_items<'py>(writer: &mut Writer<'_>, items: impl Iterator<Item = Bound<'py, PyAny>>) -> Written {
    writer.open_list()?;
    for item in items {
        if !write(writer, &item)? {
            return Ok(false);
        }
    }
    writer.close_list()?;
    Ok(true)
}

/// Everything that is rarer, in the order in which segment-analytics-python checks for it.
#[cold]
fn write_other(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Written {
    if DECIMAL.has(value)? {
        writer.double(value.call_method0("__float__")?.extract()?)?;
    } else if let Ok(string) = value.cast::<PyString>() {
        writer.str(&text(string))?;
    } else if value.is_instance_of::<PyInt>() {
        write_int(writer, value)?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        writer.double(number.value())?;
    } else if time::DATETIME.has(value)? {
        match time::milliseconds(value)? {
            Some(ms) => writer.time_ms(ms)?,
            None => writer.null()?,
        }
    } else if time::DATE.has(value)? {
        writer.str(&text(value.call_method0("isoformat")?.cast::<PyString>()?))?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        return write_items(writer, tuple.iter());
    } else if let Ok(list) = value.cast::<PyList>() {
        return write_items(writer, list.iter());
    } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        let items: Vec<_> = value.try_iter()?.collect::<PyResult<_>>()?;
        return write_items(writer, items.into_iter());
    } else if let Ok(dict) = value.cast::<PyDict>() {
        return write_dict(writer, dict);
    } else if ENUM.has(value)? {
        return write_held(writer, value);
    } else if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
        let decoded = value.call_method1("decode", ("utf-8", "strict"))?;
        writer.str(&text(decoded.cast::<PyString>()?))?;
    } else if UUID.has(value)? {
        writer.str(&text(&value.str()?))?;
    } else if NUMPY.has(value)? {
        return write_held(writer, value);
    } else if PANDAS_NA.has(value)? {
        writer.null()?;
    } else if value.hasattr("__dataclass_fields__")? && !value.is_instance_of::<pyo3::types::PyType>() {
        return write_dataclass(writer, value);
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// The value of an Enum or a numpy scalar, which may be one of these again.
fn write_held(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Written {
    let mut held = value.clone();
    for _ in 0..HELD_MAX {
        if ENUM.has(&held)? {
            held = held.getattr("value")?;
        } else if NUMPY_TIME.has(&held)? {
            return write_numpy_time(writer, &held);
        } else if NUMPY.has(&held)? {
            held = held.call_method0("item")?;
            // Some (long doubles) have no other form.
            if NUMPY.has(&held)? {
                return Ok(false);
            }
        } else {
            return write(writer, &held);
        }
    }
    Err(Error::invalid("is an Enum or scalar whose value is another one, too many times or in a cycle").into())
}

/// Its `item()` would be a number of nanoseconds. It has no zone, and counts as UTC.
fn write_numpy_time(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Written {
    let ms: i64 = value.call_method1("astype", ("datetime64[ms]",))?.call_method1("astype", ("int64",))?.extract()?;
    match ms {
        i64::MIN => writer.null()?,
        ms => writer.time_ms(ms)?,
    }
    Ok(true)
}

fn write_dataclass(writer: &mut Writer<'_>, value: &Bound<'_, PyAny>) -> Written {
    writer.open_object()?;
    for field in value.py().import("dataclasses")?.call_method1("fields", (value,))?.try_iter()? {
        let name = field?.getattr("name")?;
        let name = name.cast_into::<PyString>().map_err(PyErr::from)?;
        let before = writer.mark();
        writer.name(&text(&name))?;
        let member = value.getattr(&name)?;
        if !write_or_warn(writer, &name, &member)? {
            writer.rewind(before);
        }
    }
    writer.close_object()?;
    Ok(true)
}
