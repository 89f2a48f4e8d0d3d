//! Who has ended, told at once where the system can: by a pidfd for each process on Linux, by one list of all
//! processes for each look elsewhere. Both are compiled and tested on Linux.

use std::collections::{BTreeMap, BTreeSet};

use super::{Processes, default_table};

/// One process: its number and when it began.
pub type Life = (u32, u64);

/// Watches processes for their ends. A process that is not watched is looked up in the table.
pub trait Ends: Send {
    /// From now on the end of this process is told. To watch it twice is to watch it once.
    fn watch(&mut self, life: Life);

    /// The same for one whose end others mostly tell: only where there is plenty of room, and it wakes nobody. Whether
    /// it is watched.
    fn watch_aside(&mut self, life: Life) -> bool;

    /// Looks around once: what is said until the next time is as of now, where it is not better known.
    fn look(&mut self);

    /// Whether exactly this process has ended. What is not known has not.
    fn ended(&self, life: Life) -> bool;

    /// Nobody but these is watched any more.
    fn keep(&mut self, only: &BTreeSet<Life>);
}

/// The watch that fits this system best; `wake` is called at each end of a process that is watched, where that is
/// seen at once.
pub fn default_ends(wake: impl Fn() + Send + 'static) -> Box<dyn Ends> {
    #[cfg(target_os = "linux")]
    match linux::PidfdEnds::begin(wake) {
        Ok(ends) => Box::new(ends),
        // Without descriptors to spare there is still the table.
        Err(_) => Box::new(ListedEnds::new(default_table())),
    }
    #[cfg(not(target_os = "linux"))]
    {
        drop(wake);
        Box::new(ListedEnds::new(default_table()))
    }
}

/// The portable form: one list a look.
pub struct ListedEnds {
    table: Box<dyn Processes>,
    watched: BTreeSet<Life>,
    /// Who runs, by number, as last listed; empty before the first look and where the list could not be had.
    running: BTreeMap<u32, u64>,
}

impl ListedEnds {
    /// Nobody is watched yet.
    pub fn new(table: Box<dyn Processes>) -> Self {
        Self { table, watched: BTreeSet::new(), running: BTreeMap::new() }
    }
}

impl Ends for ListedEnds {
    fn watch(&mut self, life: Life) {
        self.watched.insert(life);
    }

    fn watch_aside(&mut self, life: Life) -> bool {
        self.watch(life);
        true
    }

    fn look(&mut self) {
        let all = self.table.list();
        self.running = all.into_iter().filter(|proc| !proc.zombie).map(|proc| (proc.pid, proc.start_time)).collect();
    }

    fn ended(&self, (pid, start): Life) -> bool {
        // We are in every honest list.
        if !self.running.contains_key(&super::own_pid()) {
            return !self.table.alive(pid, start);
        }
        match self.running.get(&pid) {
            Some(listed) => !self.table.same_start(*listed, start),
            // It may be younger than the list.
            None => !self.table.alive(pid, start),
        }
    }

    fn keep(&mut self, only: &BTreeSet<Life>) {
        self.watched.retain(|life| only.contains(life));
    }
}

#[cfg(target_os = "linux")]
pub use linux::PidfdEnds;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::fd::OwnedFd;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread::JoinHandle;

    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};

    use super::super::{Processes, table::ProcTable};
    use super::{Ends, Life};

    /// So many descriptors are left to the rest of the program.
    const SPARED: u64 = 400;
    /// The key of the word to stop.
    const STOP: u64 = 0;
    /// In the key of a process whose end wakes nobody.
    const ASIDE: u64 = 1 << 63;

    /// Each process watched by a descriptor of its own: its end costs nothing until it comes.
    pub struct PidfdEnds {
        told: Arc<Told>,
        watched: BTreeMap<Life, Watched>,
        next: u64,
        /// So many can be watched; who comes later is looked up.
        room: usize,
        stop: OwnedFd,
        listener: Option<JoinHandle<()>>,
    }

    enum Watched {
        Open {
            key: u64,
            _fd: OwnedFd,
        },
        /// It had ended before it was watched.
        Gone,
    }

    struct Told {
        epoll: OwnedFd,
        ended: Mutex<BTreeSet<u64>>,
    }

    impl Told {
        fn ended(&self) -> MutexGuard<'_, BTreeSet<u64>> {
            self.ended.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Until it is told to stop.
        fn listen(&self, wake: &impl Fn()) {
            let mut events = Vec::with_capacity(64);
            loop {
                match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
                let keys: Vec<u64> = events.drain(..).map(|event| event.data.u64()).collect();
                if keys.contains(&STOP) {
                    return;
                }
                let wakes = keys.iter().any(|key| key & ASIDE == 0);
                self.ended().extend(keys);
                if wakes {
                    wake();
                }
            }
        }
    }

    impl PidfdEnds {
        /// Nobody is watched yet.
        ///
        /// # Errors
        /// When there is no descriptor or thread to be had.
        pub fn begin(wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
            let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
            let told = Arc::new(Told { epoll, ended: Mutex::default() });
            let listening = Arc::clone(&told);
            let listener = std::thread::Builder::new().name("ends".to_owned());
            let listener = listener.spawn(move || listening.listen(&wake))?;
            let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let room = usize::try_from(most.saturating_sub(SPARED)).unwrap_or(usize::MAX);
            Ok(Self { told, watched: BTreeMap::new(), next: STOP + 1, room, stop, listener: Some(listener) })
        }

        /// A descriptor for exactly this process; `None` when it has ended.
        fn open(life: Life) -> Result<Option<OwnedFd>, Errno> {
            let Some(pid) = i32::try_from(life.0).ok().and_then(Pid::from_raw) else { return Ok(None) };
            match pidfd_open(pid, PidfdFlags::empty()) {
                // The number may have been given away before the descriptor was had.
                Ok(fd) => Ok(ProcTable.alive(life.0, life.1).then_some(fd)),
                Err(Errno::SRCH) => Ok(None),
                Err(error) => Err(error),
            }
        }

        fn begin_watch(&mut self, life: Life, aside: u64) {
            if self.watched.contains_key(&life) || self.watched.len() >= self.room {
                return;
            }
            match Self::open(life) {
                Ok(Some(fd)) => {
                    let key = self.next | aside;
                    self.next += 1;
                    let once = EventFlags::IN | EventFlags::ONESHOT;
                    if epoll::add(&self.told.epoll, &fd, EventData::new_u64(key), once).is_ok() {
                        self.watched.insert(life, Watched::Open { key, _fd: fd });
                    }
                }
                Ok(None) => drop(self.watched.insert(life, Watched::Gone)),
                // Too many descriptors, or a system without them: it is looked up.
                Err(_) => {}
            }
        }
    }

    impl Ends for PidfdEnds {
        fn watch(&mut self, life: Life) {
            self.begin_watch(life, 0);
        }

        fn watch_aside(&mut self, life: Life) -> bool {
            if self.watched.len() < self.room / 3 {
                self.begin_watch(life, ASIDE);
            }
            self.watched.contains_key(&life)
        }

        fn look(&mut self) {}

        fn ended(&self, life: Life) -> bool {
            match self.watched.get(&life) {
                Some(Watched::Open { key, .. }) => self.told.ended().contains(key),
                Some(Watched::Gone) => true,
                None => !ProcTable.alive(life.0, life.1),
            }
        }

        fn keep(&mut self, only: &BTreeSet<Life>) {
            let mut ended = self.told.ended();
            self.watched.retain(|life, watched| {
                let kept = only.contains(life);
                if let (false, Watched::Open { key, .. }) = (kept, watched) {
                    ended.remove(key);
                }
                kept
            });
        }
    }

    impl Drop for PidfdEnds {
        fn drop(&mut self) {
            let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
            if let Some(listener) = self.listener.take() {
                let _ = listener.join();
            }
        }
    }
}
