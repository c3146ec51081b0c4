// Threads that run a step together. Between two steps the cores belong to others, to OpenMM's own threads above all: a
// thread looks out for the next step for a moment, because that of a small model follows at once, and then sleeps.
// OpenMP's threads stay awake for milliseconds, in which the force field of a hybrid system has to share its cores. Where
// torch's own operators have just had these threads, it is the other way round: they are borrowed, as they are awake.
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

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  ~Team() {
    start(STOP);
    for (std::thread& each : threads) each.join();
  }

  // Have that many threads, the caller included; how many there are.
  int gather(int wanted) {
    wanted = wanted < MOST ? wanted : (int)MOST;
    try {
      while ((int)threads.size() + 1 < wanted) threads.emplace_back(&Team::serve, this, (int)threads.size() + 1, word.load());
    } catch (const std::system_error&) {
    }
    return (int)threads.size() + 1 < wanted ? (int)threads.size() + 1 : wanted;
  }

  // Call work(context, t) for t = 0 .. count - 1 at once; gather(count) comes before.
  void run(int count, void (*work)(void*, int), void* context) {
    job = work;
    argument = context;
    size = count;
    if (count > 1) start(count);
    work(context, 0);
    meet();
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
  void meet() {
    const int all = size;  // read before the others can go on
    if (all < 2) return;
    const unsigned now = phase.load(std::memory_order_acquire);
    if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
      waiting.store(0, std::memory_order_relaxed);
      phase.store(now + 1, std::memory_order_release);
      return;
    }
    for (int turn = 0; phase.load(std::memory_order_acquire) == now; turn++) {
      if (turn < PATIENCE) relax();
      else std::this_thread::yield();  // more threads than cores: the others need this one
    }
  }

  // False in a process that was forked off: the threads have stayed behind, and nobody may wait for them.
  bool is_here() const { return process == current_process(); }

 private:
  enum : unsigned long { MOST = 1000, STOP = 1023, COUNT_BITS = 10 };
  enum { PATIENCE = 4000, LOOK_OUT_US = 1000 };

  static long current_process() {
#if defined(__unix__) || defined(__APPLE__)
    return (long)getpid();
#else
    return 0;
#endif
  }

  // The run and how many take part in it are one word: who reads it late cannot mix up two runs.
  void start(unsigned long count) {
    const unsigned long next = ((word.load() >> COUNT_BITS) + 1) << COUNT_BITS | count;
    word.store(next);
    if (asleep.load() > 0) {
      std::lock_guard<std::mutex> guard(lock);
      wake.notify_all();
    }
  }

  void serve(int own, unsigned long seen) {
    for (;;) {
      const auto since = std::chrono::steady_clock::now();
      bool awake = false;
      do {
        for (int turn = 0; turn < 32 && !awake; turn++) {
          awake = word.load(std::memory_order_acquire) != seen;
          if (!awake) relax();
        }
        if (!awake) std::this_thread::yield();  // whoever needs the core has it at once
      } while (!awake && std::chrono::steady_clock::now() - since < std::chrono::microseconds((int)LOOK_OUT_US));
      if (!awake) {
        std::unique_lock<std::mutex> guard(lock);
        asleep++;
        wake.wait(guard, [&] { return word.load() != seen; });
        asleep--;
      }
      seen = word.load();
      const unsigned long count = seen & STOP;
      if (count == STOP) return;
      if ((unsigned long)own >= count) continue;
      job(argument, own);
      meet();
    }
  }

  const long process = current_process();
  std::vector<std::thread> threads;
  std::atomic<unsigned long> word{0};
  std::atomic<unsigned> phase{0};
  std::atomic<int> waiting{0}, asleep{0};
  std::mutex lock;
  std::condition_variable wake;
  void (*job)(void*, int) = nullptr;
  void* argument = nullptr;
  int size = 1;
};

}  // namespace
