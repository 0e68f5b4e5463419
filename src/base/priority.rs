//! Which thread the system lets run when there are more than processors.
//!
//! A thread that serves clients asks for short *slices*: when it wakes up it runs at once, where otherwise the thread that is running
//! would first use up its own slice of some milliseconds. Its share of the processors stays what it was. Threads that work in the
//! background are made *nice*: they get a smaller share when others want to run.
//!
//! Everything here is a wish. A system that does not know it, or does not permit it, goes on as before. This is a place of `unsafe`:
//! one call of the system for which there is no safe wrapper.
#![allow(unsafe_code)]

/// The shortest slice the system knows, nanoseconds.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// The calling thread, not those it starts, is to run as soon as it can. Linux 6.12 and later.
#[cfg(target_os = "linux")]
pub fn ask_for_short_slices() -> bool {
    // SAFETY: all fields are numbers, for which zero is a value; the system fills it in, and then only reads it.
    unsafe {
        let mut wish: libc::sched_attr = std::mem::zeroed();
        wish.size = size_of::<libc::sched_attr>() as u32;
        let (own_thread, flags): (libc::pid_t, libc::c_uint) = (0, 0);
        if libc::syscall(libc::SYS_sched_getattr, own_thread, &raw mut wish, wish.size, flags) != 0 {
            return false;
        }
        wish.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
        wish.sched_runtime = SLICE_NS;
        libc::syscall(libc::SYS_sched_setattr, own_thread, &raw const wish, flags) == 0
    }
}

/// The calling thread, not those it starts, is to run as soon as it can. Linux 6.12 and later.
#[cfg(not(target_os = "linux"))]
pub fn ask_for_short_slices() -> bool {
    false
}

/// Makes the calling thread nice: 0 is as before, 19 gets next to nothing while others want to run.
pub fn be_nice(nice: i32) -> bool {
    // On Linux this is the thread alone.
    cfg!(target_os = "linux") && rustix::process::setpriority_process(None, nice).is_ok()
}

/// Makes all threads of this process nice whose name begins like this; gives their number.
pub fn make_nice(name: &str, nice: i32) -> usize {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let mut found = 0;
    for thread in threads.flatten() {
        let is_meant =
            std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.starts_with(name));
        let number = thread.file_name().to_str().and_then(|number| number.parse().ok());
        if is_meant
            && let Some(thread) = number.and_then(rustix::process::Pid::from_raw)
            && rustix::process::setpriority_process(Some(thread), nice).is_ok()
        {
            found += 1;
        }
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn nice_of_own_thread() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn a_nice_thread_is_nice_alone() {
        let before = nice_of_own_thread();
        std::thread::spawn(move || {
            assert!(be_nice(before + 1));
            assert_eq!(nice_of_own_thread(), before + 1);
        })
        .join()
        .unwrap();
        assert_eq!(nice_of_own_thread(), before);
    }

    #[test]
    fn threads_are_found_by_the_beginning_of_their_name() {
        let before = nice_of_own_thread();
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let named = std::thread::Builder::new().name("tuff-test:low1".to_owned());
        let thread = named
            .spawn(move || {
                tell.send(0).unwrap();
                asked.recv().unwrap();
                tell.send(nice_of_own_thread()).unwrap();
            })
            .unwrap();
        told.recv().unwrap();
        assert_eq!(make_nice("tuff-test:", before + 2), 1);
        ask.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), before + 2);
        thread.join().unwrap();
        assert_eq!(make_nice("tuff-test:", before + 2), 0);
    }

    #[test]
    fn short_slices_can_be_asked_for_and_change_nothing_else() {
        let before = nice_of_own_thread();
        std::thread::spawn(move || {
            // An old kernel may refuse; the niceness is what it was.
            ask_for_short_slices();
            assert_eq!(nice_of_own_thread(), before);
        })
        .join()
        .unwrap();
    }
}
