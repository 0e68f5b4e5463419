//! The engine of functions: an interpreter, and the libraries that have been loaded in it. One for each thread that runs functions.
//!
//! A library is loaded when a function of it is first called on this thread, and again when it has been replaced (its `id` tells).
//! So what a library keeps in variables of its own belongs to one thread, and is no place for data. Lua's data is bounded by
//! `bytes_max`; when what the libraries keep has grown beyond half of it, the interpreter is dropped and made anew, and they
//! begin again.

use hashbrown::HashMap;

use crate::resp::Reply;
use crate::script::host::{Host, LogLevel, Stop};
use crate::script::interpreter::{Call, Compiled, Interpreter, LoadError, Name, Outcome};
use crate::script::library::Shebang;
use crate::script::register::Registered;
use crate::script::sandbox::Guest;
use crate::script::source::Flags;

/// A function as its library has registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFunction {
    /// Its name.
    pub name: Box<[u8]>,
    /// What it is for.
    pub description: Option<Box<[u8]>>,
    /// What it may do.
    pub flags: Flags,
}

/// Calls functions on one thread.
pub struct Functions {
    bytes_max: usize,
    interpreter: Option<Interpreter>,
    /// By the library's id: its functions, by name.
    loaded: HashMap<u64, HashMap<Box<[u8]>, Compiled>>,
}

/// A function to be called.
pub struct Callee<'a> {
    /// The loading of its library, never used for another text.
    pub loading: u64,
    /// The library's text, its first line included.
    pub code: &'a [u8],
    /// The function's name as it was registered.
    pub name: &'a [u8],
}

impl Functions {
    /// An engine whose libraries and functions may keep `bytes_max`.
    pub fn new(bytes_max: usize) -> Functions {
        Functions { bytes_max, interpreter: None, loaded: HashMap::new() }
    }

    /// Loads a library to see what it registers, and forgets it.
    pub fn check(&mut self, body: &[u8], host: &mut dyn Host) -> Result<Vec<NewFunction>, LoadError> {
        let interpreter = self.interpreter()?;
        let registered = interpreter.load(body, host)?;
        registered.iter().for_each(|function| interpreter.forget(function.compiled()));
        if registered.is_empty() {
            return Err(LoadError::Refused(b"ERR No functions registered".to_vec()));
        }
        self.drop_if_full();
        let new = |Registered { name, description, flags, .. }| NewFunction { name, description, flags };
        Ok(registered.into_iter().map(new).collect())
    }

    /// Calls a function, with its keys and arguments, and writes its result or its error to `reply`. If its library must be loaded,
    /// those of which `is_current` does not know the id are forgotten.
    ///
    /// A panic of the host goes through, the engine stays whole.
    pub fn call(
        &mut self,
        callee: &Callee<'_>,
        (keys, args): (&[&[u8]], &[&[u8]]),
        is_current: &dyn Fn(u64) -> bool,
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let compiled = match self.ready(callee, is_current, host) {
            Ok(compiled) => compiled,
            Err(LoadError::Stopped(Stop::Again)) => return Outcome::Stopped,
            Err(LoadError::Stopped(Stop::Kill)) => {
                reply.error("ERR Script killed by user with SCRIPT KILL...");
                return Outcome::Failed { is_counted: false };
            }
            Err(LoadError::Refused(text)) => {
                reply.error_bytes(&text);
                return Outcome::Failed { is_counted: false };
            }
        };
        let Some(interpreter) = &mut self.interpreter else { return Outcome::Stopped };
        let outcome =
            interpreter.run(&Call { compiled, name: Name::Function(callee.name), keys, args }, host, reply);
        self.drop_if_full();
        outcome
    }

    /// Bytes in use by Lua.
    pub fn used_bytes(&self) -> usize {
        self.interpreter.as_ref().map_or(0, Interpreter::used_bytes)
    }

    fn interpreter(&mut self) -> Result<&mut Interpreter, LoadError> {
        if self.interpreter.is_none() {
            self.interpreter = Interpreter::new(Guest::Functions, self.bytes_max);
        }
        let none = || LoadError::Refused(b"ERR no memory for a Lua interpreter".to_vec());
        self.interpreter.as_mut().ok_or_else(none)
    }

    /// The function, its library loaded.
    fn ready(
        &mut self,
        callee: &Callee<'_>,
        is_current: &dyn Fn(u64) -> bool,
        host: &mut dyn Host,
    ) -> Result<Compiled, LoadError> {
        let missing = || LoadError::Refused(b"ERR Function not found".to_vec());
        if let Some(functions) = self.loaded.get(&callee.loading) {
            return functions.get(callee.name).copied().ok_or_else(missing);
        }
        self.interpreter()?;
        let Some(interpreter) = &mut self.interpreter else { return Err(missing()) };
        for (_, functions) in self.loaded.extract_if(|id, _| !is_current(*id)) {
            functions.into_values().for_each(|compiled| interpreter.forget(compiled));
        }
        let line = Shebang::parse(callee.code).map_err(LoadError::Refused)?;
        let registered = interpreter.load(&callee.code[line.body_start..], &mut Again(host))?;
        let by_name = |function: Registered| (function.name.clone(), function.compiled());
        let functions: HashMap<_, _> = registered.into_iter().map(by_name).collect();
        let found = functions.get(callee.name).copied();
        self.loaded.insert(callee.loading, functions);
        found.ok_or_else(missing)
    }

    fn drop_if_full(&mut self) {
        if self.used_bytes() > self.bytes_max / 2 {
            self.interpreter = None;
            self.loaded.clear();
        }
    }
}

/// The host of a library that is loaded once more: what it logs was logged when it was new.
struct Again<'h>(&'h mut dyn Host);

impl Host for Again<'_> {
    fn call(&mut self, words: &[&[u8]], proto: crate::resp::Proto, out: &mut Vec<u8>) -> Result<(), Stop> {
        self.0.call(words, proto, out)
    }

    fn tick(&mut self) -> Result<(), Stop> {
        self.0.tick()
    }

    fn seed(&mut self) -> u64 {
        self.0.seed()
    }

    fn may_run(&mut self, words: &[&[u8]]) -> Option<bool> {
        self.0.may_run(words)
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}
