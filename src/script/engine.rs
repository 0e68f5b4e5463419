//! The engine: an interpreter and the scripts it has compiled. One for each thread that runs scripts.
//!
//! Compiled scripts are kept by their SHA-1, the least recently run leave first. They hold no state between runs, so SCRIPT FLUSH
//! need not reach them: who may be run is the business of [`super::Scripts`]. Lua's data is bounded by `bytes_max`; what a script
//! asks for beyond ends it with an error. The interpreter is made when the first script comes.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::resp::Reply;
use crate::script::host::Host;
use crate::script::interpreter::{Call, Compiled, Interpreter, Outcome};
use crate::script::sandbox::Guest;
use crate::script::source::{Script, Sha};

/// Compiled scripts that are kept.
const COMPILED_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1000 - 1);

/// Runs scripts on one thread.
pub struct Engine {
    bytes_max: usize,
    interpreter: Option<Interpreter>,
    compiled: LruCache<Sha, Compiled>,
}

impl Engine {
    /// An engine whose scripts' data may grow to `bytes_max`, one script's data included.
    pub fn new(bytes_max: usize) -> Engine {
        Engine { bytes_max, interpreter: None, compiled: LruCache::new(COMPILED_MAX) }
    }

    /// Whether the script can be run: compiles it. The error is the client's.
    pub fn check(&mut self, script: &Script) -> Result<(), Vec<u8>> {
        self.ready(script).map(|_| ())
    }

    /// Runs the script, with `KEYS` and `ARGV`, and writes its result or its error to `reply`.
    ///
    /// A panic of the host goes through, the engine stays whole.
    pub fn run(
        &mut self,
        script: &Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        host: &mut dyn Host,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        match self.ready(script) {
            Ok((interpreter, compiled)) => {
                let name = &script.sha().hex();
                interpreter.run(&Call { compiled, name, keys, args }, host, reply)
            }
            Err(error) => {
                reply.error_bytes(&error);
                Outcome::Failed { is_counted: false }
            }
        }
    }

    /// Bytes in use by Lua.
    pub fn used_bytes(&self) -> usize {
        self.interpreter.as_ref().map_or(0, Interpreter::used_bytes)
    }

    /// The interpreter, and the script compiled in it.
    fn ready(&mut self, script: &Script) -> Result<(&mut Interpreter, Compiled), Vec<u8>> {
        if self.interpreter.is_none() {
            self.interpreter = Interpreter::new(Guest::Scripts, self.bytes_max);
        }
        let Some(interpreter) = &mut self.interpreter else {
            return Err(b"ERR no memory for a Lua interpreter".to_vec());
        };
        if let Some(compiled) = self.compiled.get(&script.sha()) {
            return Ok((interpreter, *compiled));
        }
        let compiled = interpreter
            .compile(script.body())
            .map_err(|text| [b"ERR Error compiling script (new function): ", &text[..]].concat())?;
        if let Some((_, least_used)) = self.compiled.push(script.sha(), compiled) {
            interpreter.forget(least_used);
        }
        Ok((interpreter, compiled))
    }
}
