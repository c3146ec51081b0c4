// Threads that run a step together.
//
// Between two steps the cores belong to others, to OpenMM's own threads above all: a thread waits actively for the next step for
// a millisecond, because that of a small model follows at once, and then sleeps. OpenMP's threads stay awake for milliseconds,
// in which the force field of a hybrid system has to share its cores. Where torch's own operators have just had these threads,
// it is the other way round: they are borrowed, as they are awake.
//
// How a run starts: its number and how many threads take part in it are one word, the epoch, so that a thread that reads it late
// cannot mix up two runs. How it ends: all meet at a barrier.
//
// | symbol          | meaning                                                                                          |
// | `epoch`         | number of the run << COUNT_BITS | how many threads take part in it; STOP ends the threads         |
// | `round`         | number of the barrier that is waited at                                                          |
// | `arrived`       | threads that wait at it                                                                          |
// | `worker_loop`   | what each thread but the caller does: wait for an epoch, work, meet the others, wait again       |
// | SPINS           | looks at the barrier before a thread gives its core to others between two looks                  |
// | STAY_AWAKE_US   | microseconds for which a thread waits actively for the next run                                  |
// | STAY_S          | seconds without a run after which a thread ends; the next run makes it anew                      |
// | in_use, ended   | from `prepare` to the end of a run no thread ends; those that have                               |
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace {

// Tells the core that the thread is waiting.
inline void pause_core() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Threads {
 public:
  ~Threads() {
    start(STOP);
    for (std::thread& each : workers) each.join();
  }

  // Have that many threads, the caller included; how many there are: fewer if the system gives no more.
  int prepare(int wanted) {
    wanted = wanted < MOST ? wanted : (int)MOST;
    if (wanted < 2) return wanted;
    std::lock_guard<std::mutex> guard(lock);
    in_use = true;  // from here on no thread ends
    ended.resize(wanted > (int)ended.size() ? wanted : ended.size(), 0);
    try {
      for (int own = 1; own <= (int)workers.size() && own < wanted; own++) {
        if (!ended[own]) continue;
        if (workers[own - 1].joinable()) workers[own - 1].join();
        workers[own - 1] = std::thread(&Threads::worker_loop, this, own, epoch.load());
        ended[own] = 0;
      }
      while ((int)workers.size() + 1 < wanted)
        workers.emplace_back(&Threads::worker_loop, this, (int)workers.size() + 1, epoch.load());
    } catch (const std::system_error&) {
      for (int own = 1; own <= (int)workers.size() && own < wanted; own++)
        if (ended[own]) return own;
    }
    return (int)workers.size() + 1 < wanted ? (int)workers.size() + 1 : wanted;
  }

  // Call work(context, t) for t = 0 .. count - 1 at once; prepare(count) comes before.
  void run(int count, void (*work)(void*, int), void* context) {
    job = work;
    argument = context;
    size = count;
    if (count > 1) start(count);
    work(context, 0);
    barrier();
    if (count > 1) {
      std::lock_guard<std::mutex> guard(lock);
      in_use = false;
    }
  }

#ifdef _OPENMP
  static bool can_borrow() { return !omp_in_parallel(); }

  // The same with the threads of OpenMP, or nothing and false if there are not `count` of them.
  bool run_borrowed(int count, void (*work)(void*, int), void* context) {
    bool done = false;
    size = count;
#pragma omp parallel num_threads(count)
    if (omp_get_num_threads() == count) {
      work(context, omp_get_thread_num());
      if (omp_get_thread_num() == 0) done = true;
    }
    return done;
  }
#else
  static bool can_borrow() { return false; }
  bool run_borrowed(int, void (*)(void*, int), void*) { return false; }
#endif

  // Wait until all threads of the present run have come here.
  void barrier() {
    const int all = size;  // read before the others can go on
    if (all < 2) return;
    const unsigned now = round.load(std::memory_order_acquire);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
      arrived.store(0, std::memory_order_relaxed);
      round.store(now + 1, std::memory_order_release);
      return;
    }
    for (int spin = 0; round.load(std::memory_order_acquire) == now; spin++) {
      if (spin < SPINS) pause_core();
      else std::this_thread::yield();  // more threads than cores: the others need this one
    }
  }

  // False in a process that was forked off: the threads have stayed behind, and nobody may wait for them.
  bool is_here() const { return process == current_process(); }

 private:
  enum : unsigned long { MOST = 1000, STOP = 1023, COUNT_BITS = 10 };
  enum { SPINS = 4000, STAY_AWAKE_US = 1000, STAY_S = 5, LOOKS_BETWEEN_YIELDS = 32 };

  static long current_process() {
#if defined(__unix__) || defined(__APPLE__)
    return (long)getpid();
#else
    return 0;
#endif
  }

  void start(unsigned long count) {
    epoch.store(((epoch.load() >> COUNT_BITS) + 1) << COUNT_BITS | count);
    if (sleeping.load() > 0) {
      std::lock_guard<std::mutex> guard(lock);
      wake.notify_all();
    }
  }

  // Whether a new epoch has come within STAY_AWAKE_US.
  bool wait_awake(unsigned long seen) {
    const auto since = std::chrono::steady_clock::now();
    do {
      for (int look = 0; look < LOOKS_BETWEEN_YIELDS; look++) {
        if (epoch.load(std::memory_order_acquire) != seen) return true;
        pause_core();
      }
      std::this_thread::yield();  // whoever needs the core has it at once
    } while (std::chrono::steady_clock::now() - since < std::chrono::microseconds((int)STAY_AWAKE_US));
    return false;
  }

  void worker_loop(int own, unsigned long seen) {
    for (;;) {
      if (!wait_awake(seen)) {
        std::unique_lock<std::mutex> guard(lock);
        sleeping++;
        bool called = false;
        do called = wake.wait_for(guard, std::chrono::seconds((int)STAY_S), [&] { return epoch.load() != seen; });
        while (!called && in_use);
        sleeping--;
        if (!called) {
          ended[own] = 1;
          return;
        }
      }
      seen = epoch.load();
      const unsigned long count = seen & STOP;
      if (count == STOP) return;
      if ((unsigned long)own >= count) continue;
      job(argument, own);
      barrier();
    }
  }

  const long process = current_process();
  std::vector<std::thread> workers;
  std::atomic<unsigned long> epoch{0};
  std::atomic<unsigned> round{0};
  std::atomic<int> arrived{0}, sleeping{0};
  bool in_use = false;
  std::vector<char> ended;
  std::mutex lock;
  std::condition_variable wake;
  void (*job)(void*, int) = nullptr;
  void* argument = nullptr;
  int size = 1;
};

}  // namespace
