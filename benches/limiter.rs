//! What a permit costs, and how well a rate is held. Prints two tables; each figure stands beside a reference of the same run.
//!
//! `cargo bench --bench limiter` (about 30 s)

use std::fmt::Display;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lagvalve::clock::{Clock, SystemClock};
use lagvalve::limiter::{ByteRate, DEFAULT_BURST, Limiter, TokioClock};
use lagvalve::units::RateLimit;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

fn main() {
    println!("cost of a call, best of {ROUNDS} rounds");
    println!("{:<58} {:>9} {:>18} {:>9}", "", "ns", "× Instant::now()", "bar");
    let reference = cost(|n| repeat(n, instant_now));
    let row =
        |name: &str, nanos: f64, bar: &str| println!("{name:<58} {nanos:>9.2} {:>18.2} {bar:>9}", nanos / reference);
    row("Instant::now()", reference, "");
    grants(&row);
    refusals(&row);
    async_grants(&row);

    println!("\nrate held; CPU of the whole process in % of one core");
    println!("{:<44} {:>6} {:>14} {:>9} {:>7} {:>8}", "", "tasks", "granted/s", "error", "CPU", "bar");
    for (rate, tasks) in [(0.1, 1), (0.1, 64), (10.0, 64), (1e6, 64)] {
        virtual_rate(rate, tasks);
    }
    for (rate, tasks) in [(1e3, 1), (1e3, 64), (1e5, 1), (1e5, 64), (1e6, 1), (1e6, 64)] {
        real_rate("Limiter::acquire", rate, tasks, |limiter| async move {
            loop {
                limiter.acquire(1).await;
            }
        });
    }
    leased_rate(1e6, 1);
    leased_rate(1e6, 2);
    semaphore_rate(1e6, 64);
}

fn grants(row: &impl Fn(&str, f64, &str)) {
    let open = Limiter::new(RateLimit::Unlimited, DEFAULT_BURST);
    let word = AtomicU64::new(0);
    row("one atomic load", cost(|n| repeat(n, || black_box(&word).load(Ordering::Relaxed))), "");
    row("one atomic addition", cost(|n| repeat(n, || word.fetch_add(1, Ordering::Relaxed))), "");
    row("Semaphore::try_acquire().forget()", cost(semaphore_grants), "");
    row("unlimited, Limiter::try_acquire (load, striped counter)", cost(|n| take_shared(&open, n)), "");
    row("unlimited, LeasedLimiter::try_acquire", cost(|n| take_leased(&open, n)), "");
    let ample = Limiter::new(at(AMPLE), DEFAULT_BURST);
    row("limited, Limiter::try_acquire", cost(|n| take_shared(&ample, n)), "≤ 10 ns");
    row("limited, Limiter::try_acquire, 2 threads", cost(|n| on_two_threads(|| take_shared(&ample, n))), "");
    row("limited, LeasedLimiter::try_acquire", cost(|n| take_leased(&ample, n)), "≤ 10 ns");
    row(
        "limited, LeasedLimiter::try_acquire, 2 threads",
        cost(|n| on_two_threads(|| take_leased(&ample, n))),
        "≤ 10 ns",
    );
    let sized = Limiter::new(at(AMPLE), DEFAULT_BURST);
    sized.set_byte_limit(ByteRate::new(AMPLE * 1e3));
    row(
        "limited in bytes too, Limiter::try_acquire_sized",
        cost(|n| repeat(n, || sized.try_acquire_sized(1, 100))),
        "",
    );
}

fn refusals(row: &impl Fn(&str, f64, &str)) {
    let slow = Limiter::new(at(0.1), DEFAULT_BURST);
    row("refused, Limiter::try_acquire", cost(|n| take_shared(&slow, n)), "");
    row("refused, LeasedLimiter::try_acquire", cost(|n| take_leased(&slow, n)), "");
}

fn async_grants(row: &impl Fn(&str, f64, &str)) {
    let runtime = runtime();
    for (name, limit) in [("unlimited", RateLimit::Unlimited), ("limited", at(AMPLE))] {
        let limiter = Limiter::new(limit, DEFAULT_BURST);
        let nanos = cost(|n| {
            runtime.block_on(async {
                for _ in 0..n {
                    limiter.acquire(1).await;
                }
            });
        });
        row(&format!("{name}, Limiter::acquire"), nanos, "");
    }
}

fn take_shared(limiter: &Limiter, n: u64) {
    repeat(n, || limiter.try_acquire(1));
}

fn take_leased(limiter: &Limiter, n: u64) {
    let mut handle = limiter.leased();
    repeat(n, || handle.try_acquire(1));
}

fn semaphore_grants(n: u64) {
    let semaphore = Semaphore::new(n as usize);
    repeat(n, || semaphore.try_acquire().map(tokio::sync::SemaphorePermit::forget));
}

fn on_two_threads(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        scope.spawn(&work);
        work();
    });
}

fn repeat<T>(n: u64, mut call: impl FnMut() -> T) {
    for _ in 0..n {
        black_box(call());
    }
}

/// Nanoseconds a call.
fn cost(work: impl Fn(u64)) -> f64 {
    work(CALLS / 10);
    let round = |_| {
        let start = SystemClock.now();
        work(CALLS);
        SystemClock.now().seconds_since(start) * 1e9 / CALLS as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// On the paused clock of tokio: the time between grants is exact, however long it is.
fn virtual_rate(rate: f64, tasks: usize) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let seconds = (100.0 / rate).max(2.0);
    let granted = runtime.block_on(async {
        let limiter = Limiter::with_clock(at(rate), DEFAULT_BURST, Arc::new(TokioClock::start()));
        for _ in 0..tasks {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                loop {
                    limiter.acquire(1).await;
                }
            });
        }
        // Half an interval after the start and the end: at 0.1/s the count is then not on an edge.
        tokio::time::sleep(Duration::from_secs_f64(0.5 / rate)).await;
        let before = limiter.granted_total();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        limiter.granted_total() - before
    });
    report("Limiter::acquire, virtual time", rate, tasks, granted as f64 / seconds, None, "± 0.5 %");
}

fn real_rate<F>(name: &str, rate: f64, tasks: usize, work: impl Fn(Limiter) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime();
    let limiter = Limiter::new(at(rate), DEFAULT_BURST);
    for _ in 0..tasks {
        runtime.spawn(work(limiter.clone()));
    }
    let (granted, cpu) = watch(|| limiter.granted_total());
    report(name, rate, tasks, granted, Some(cpu), if rate == 1e6 && tasks == 64 { "≤ 15 %" } else { "" });
}

fn leased_rate(rate: f64, threads: usize) {
    let limiter = Limiter::new(at(rate), DEFAULT_BURST);
    let end = SystemClock.now() + WARM_UP + SPAN + WARM_UP;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut handle = limiter.leased();
                while SystemClock.now() < end {
                    (0..100).for_each(|_| handle.acquire(1));
                }
            });
        }
        let (granted, cpu) = watch(|| limiter.granted_total());
        report("LeasedLimiter::acquire, threads", rate, threads, granted, Some(cpu), "");
    });
}

/// The usual way: a semaphore that a task refills every 2 ms. The rate cannot be below one a tick, and there is no bound.
fn semaphore_rate(rate: f64, tasks: usize) {
    let runtime = runtime();
    let semaphore = Arc::new(Semaphore::new(0));
    let granted = Arc::new(AtomicU64::new(0));
    for _ in 0..tasks {
        let (semaphore, granted) = (Arc::clone(&semaphore), Arc::clone(&granted));
        runtime.spawn(async move {
            while let Ok(permit) = semaphore.acquire().await {
                permit.forget();
                granted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    runtime.spawn(async move {
        let start = SystemClock.now();
        let mut added = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let due = (rate * SystemClock.now().seconds_since(start)) as usize;
            semaphore.add_permits(due - added);
            added = due;
        }
    });
    let (rate_held, cpu) = watch(|| granted.load(Ordering::Relaxed));
    report("reference: Semaphore refilled every 2 ms", rate, tasks, rate_held, Some(cpu), "");
}

/// Growth of `total` per second, and CPU in % of one core, over [`SPAN`] after [`WARM_UP`].
fn watch(total: impl Fn() -> u64) -> (f64, f64) {
    thread::park_timeout(WARM_UP);
    let (start, before, cpu) = (SystemClock.now(), total(), Cpu::start());
    while SystemClock.now() < start + SPAN {
        thread::park_timeout((start + SPAN).since(SystemClock.now()));
    }
    let seconds = SystemClock.now().seconds_since(start);
    ((total() - before) as f64 / seconds, cpu.seconds() / seconds * 100.0)
}

fn report(name: &str, rate: f64, tasks: usize, granted: f64, cpu: Option<f64>, bar: impl Display) {
    let name = format!("{rate}/s, {name}");
    let error = (granted / rate - 1.0) * 100.0;
    let cpu = cpu.map_or_else(String::new, |percent| format!("{percent:.1} %"));
    println!("{name:<44} {tasks:>6} {granted:>14.2} {error:>7.2} % {cpu:>7} {bar:>8}");
}

/// CPU time of this process since a moment, to 10 ms.
struct Cpu(f64);

impl Cpu {
    fn start() -> Self {
        Self(Self::used())
    }

    fn seconds(&self) -> f64 {
        Self::used() - self.0
    }

    /// proc_pid_stat(5): utime and stime, fields 14 and 15, in ticks of 1/100 s. Zero where there is no /proc.
    fn used() -> f64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

fn at(rate: f64) -> RateLimit {
    RateLimit::from_f64(rate).expect("not negative")
}

#[expect(clippy::disallowed_methods, reason = "the reference that all costs are compared with")]
fn instant_now() -> std::time::Instant {
    std::time::Instant::now()
}

const CALLS: u64 = 5_000_000;
const ROUNDS: usize = 5;
/// More than two threads can take.
const AMPLE: f64 = 1e9;
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_secs(2);
