//! Whose turn it is: a bounded number of threads, shared fairly between clients.
//!
//! A connection carries one response after the other, so a second thread for it would only wait for the first. Here a client
//! has at most one job in hand, however many requests it sends at once, and goes to the end of the line after each. So a
//! client that reads slowly costs one thread, and never one that another client is waiting for, up to as many slow clients
//! as there are threads.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long a thread that has nothing to do is kept for the next job: a new one for each would cost more than most jobs do.
const KEPT: Duration = Duration::from_secs(1);

/// Jobs of type `T`, each of a client `C`.
pub struct Queue<C, T> {
    work: Box<dyn Fn(T) + Send + Sync>,
    max_threads: usize,
    state: Mutex<State<C, T>>,
    /// There is a turn.
    turn: Condvar,
    /// A thread has nothing to do any more.
    idle: Condvar,
}

struct State<C, T> {
    /// The clients that have a job in hand or waiting, with those that wait.
    clients: HashMap<C, VecDeque<T>>,
    /// The clients that wait and have none in hand, in the order of their turns.
    turns: VecDeque<C>,
    threads: usize,
    /// How many of the threads wait for a turn.
    waiting: usize,
}

impl<C, T> State<C, T> {
    fn is_idle(&self) -> bool {
        self.turns.is_empty() && self.threads == self.waiting
    }
}

impl<C: Clone + Eq + Hash + Send + 'static, T: Send + 'static> Queue<C, T> {
    /// An empty queue. `work` does one job.
    pub fn new(max_threads: usize, work: impl Fn(T) + Send + Sync + 'static) -> Arc<Queue<C, T>> {
        let state = State { clients: HashMap::new(), turns: VecDeque::new(), threads: 0, waiting: 0 };
        let (turn, idle) = (Condvar::new(), Condvar::new());
        Arc::new(Queue { work: Box::new(work), max_threads, state: Mutex::new(state), turn, idle })
    }

    /// Adds a job, to be done after the client's others. Does not wait.
    pub fn push(self: &Arc<Self>, client: C, job: T) {
        let mut state = self.lock();
        match state.clients.entry(client.clone()) {
            Entry::Occupied(jobs) => jobs.into_mut().push_back(job),
            Entry::Vacant(jobs) => {
                jobs.insert(VecDeque::from([job]));
                state.turns.push_back(client);
            }
        }
        // Each turn that nobody has taken yet will be taken by one of those who wait.
        if state.turns.len() <= state.waiting {
            self.turn.notify_one();
            return;
        }
        if state.threads >= self.max_threads {
            return;
        }
        state.threads += 1;
        drop(state);
        let queue = Arc::clone(self);
        if std::thread::Builder::new().spawn(move || queue.run(KEPT)).is_err() {
            // The system has no thread to give: better late than never.
            self.run(Duration::ZERO);
        }
    }

    /// Waits until every job is done, at most for `limit`. Whether they are.
    pub fn wait_until_idle(&self, limit: Duration) -> bool {
        let waited = self.idle.wait_timeout_while(self.lock(), limit, |state| !state.is_idle());
        let (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state.is_idle()
    }

    /// Does jobs, until there was none for as long as the thread is kept.
    fn run(&self, kept: Duration) {
        while let Some((client, job)) = self.take(kept) {
            // A defect that shows in one job must not take the thread from all that come after.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.work)(job)));
            self.finish(client);
        }
    }

    /// The next client's first job. None: there was none for as long as the thread is kept, and it is no longer counted.
    fn take(&self, kept: Duration) -> Option<(C, T)> {
        let mut state = self.lock();
        if state.turns.is_empty() {
            state.waiting += 1;
            self.idle.notify_all();
            let waited = self.turn.wait_timeout_while(state, kept, |state| state.turns.is_empty());
            (state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            state.waiting -= 1;
        }
        if let Some(client) = state.turns.pop_front()
            && let Some(job) = state.clients.get_mut(&client).and_then(VecDeque::pop_front)
        {
            return Some((client, job));
        }
        state.threads -= 1;
        self.idle.notify_all();
        None
    }

    fn finish(&self, client: C) {
        let mut state = self.lock();
        if state.clients.get(&client).is_some_and(|jobs| !jobs.is_empty()) {
            state.turns.push_back(client);
        } else {
            state.clients.remove(&client);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C, T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver};

    /// Long enough for the slowest machine; only a test that fails waits for so long.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A job that takes until its sender is dropped, and one that takes no time.
    enum Job {
        Slow(Receiver<()>),
        Fast(u32),
    }

    fn queue(threads: usize) -> (Arc<Queue<&'static str, Job>>, Receiver<u32>) {
        let (done, results) = mpsc::channel();
        let queue = Queue::new(threads, move |job| match job {
            Job::Slow(until) => drop(until.recv()),
            Job::Fast(number) => done.send(number).unwrap(),
        });
        (queue, results)
    }

    #[test]
    fn a_client_with_many_slow_jobs_holds_up_no_other() {
        let (queue, results) = queue(2);
        let stalled: Vec<_> = (0..10)
            .map(|_| {
                let (end, until) = mpsc::channel();
                queue.push("slow", Job::Slow(until));
                end
            })
            .collect();
        queue.push("fast", Job::Fast(1));
        assert_eq!(results.recv_timeout(PATIENCE), Ok(1));
        assert!(!queue.wait_until_idle(Duration::ZERO), "the slow client's jobs are not done");
        drop(stalled);
        assert!(queue.wait_until_idle(PATIENCE));
    }

    #[test]
    fn the_jobs_of_a_client_are_done_in_their_order() {
        let (queue, results) = queue(4);
        for number in 0..100 {
            queue.push("client", Job::Fast(number));
        }
        let order: Vec<u32> = (0..100).map(|_| results.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(order, Vec::from_iter(0..100));
    }

    #[test]
    fn more_clients_than_threads_are_all_served() {
        let (queue, results) = queue(1);
        let (end, until) = mpsc::channel();
        queue.push("slow", Job::Slow(until));
        queue.push("second", Job::Fast(2));
        queue.push("third", Job::Fast(3));
        assert!(results.try_recv().is_err(), "the one thread is taken");
        drop(end);
        assert_eq!((results.recv_timeout(PATIENCE), results.recv_timeout(PATIENCE)), (Ok(2), Ok(3)));
    }

    #[test]
    fn a_job_that_panics_ends_no_thread() {
        let (done, results) = mpsc::channel();
        let queue = Queue::new(1, move |number: u32| match number {
            0 => std::panic::resume_unwind(Box::new("no message, for the log's sake")),
            number => done.send(number).unwrap(),
        });
        queue.push("client", 0);
        queue.push("client", 1);
        assert_eq!(results.recv_timeout(PATIENCE), Ok(1));
        assert!(queue.wait_until_idle(PATIENCE));
    }
}
