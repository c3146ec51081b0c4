// Kernels of CUDA as C++ on a CPU. Each thread of a block is a fiber; barriers are real, and between two of them the threads run
// one after the other in an order drawn anew each time, as do the blocks: a result that depends on an order, or on a barrier
// that is not there, changes. Memory of the block holds NaN before a block begins, and none of it is left from another.
// Each number in it knows who wrote and read it last: two threads that meet there, one of them writing, without a barrier
// between are a race, whatever the order was.
//
// A barrier can be taken away by number, to see whether that is noticed: simt_barrier(n, ...) does nothing for n == skipped.
#pragma once
#include <ucontext.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

struct Dim { unsigned x, y, z; };
struct float4 { float x, y, z, w; };
struct double4 { double x, y, z, w; };
static Dim threadIdx, blockIdx, blockDim, gridDim;

#define __CUDA_ARCH__ 900
#define __global__
#define __device__ static inline
#define __restrict__ __restrict
// All arrays of blocks in a section of their own, whose ends the linker knows.
#define __shared__ static __attribute__((section("block_memory")))
extern char __start_block_memory[] __attribute__((weak));
extern char __stop_block_memory[] __attribute__((weak));

using std::exp; using std::log; using std::tanh; using std::erfc; using std::pow; using std::sqrt; using std::floor;

template <class T> static T atomicAdd(T* place, T value) { const T before = *place; *place += value; return before; }
template <class T> static T atomicMax(T* place, T value) {
  const T before = *place;
  *place = std::max(before, value);
  return before;
}

namespace simt {

enum State { READY, AT_WARP, AT_BLOCK, DONE };
constexpr int WARP_SIZE = 32, STACK = 1 << 17;
struct Fiber { ucontext_t context; std::vector<char> stack; State state; };

static std::vector<Fiber> fibers;
static ucontext_t machine;
static int current, skipped = -1;
static long passed;
static bool stuck;
static std::mt19937 random_order;
// Barriers passed: of the block, and of each warp.
static int block_time, warp_time[64];
static long races;
static void (*body)(void*);
static void* body_arguments;

static void run_fiber() {
  body(body_arguments);
  fibers[current].state = DONE;
  swapcontext(&fibers[current].context, &machine);
}

static void wait(State kind) {
  Fiber& own = fibers[current];
  const Dim index = threadIdx;
  own.state = kind;
  passed++;
  swapcontext(&own.context, &machine);
  threadIdx = index;
}

// Whether the threads [first, end) may go on: all that are not done wait for this kind of barrier.
static bool release(int first, int end, State kind) {
  int waiting = 0, done = 0;
  for (int t = first; t < end; t++) waiting += fibers[t].state == kind, done += fibers[t].state == DONE;
  if (!waiting || waiting + done < end - first) return false;
  for (int t = first; t < end; t++) if (fibers[t].state == kind) fibers[t].state = READY;
  return true;
}

static void run_block(int threads) {
  if (__start_block_memory) std::memset(__start_block_memory, 0xff, __stop_block_memory - __start_block_memory);
  if ((int)fibers.size() < threads) fibers.resize(threads);
  for (int t = 0; t < threads; t++) {
    Fiber& f = fibers[t];
    f.stack.resize(STACK);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.data();
    f.context.uc_stack.ss_size = f.stack.size();
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
    f.state = READY;
  }
  std::vector<int> order(threads);
  for (int t = 0; t < threads; t++) order[t] = t;
  for (;;) {
    bool moved = false;
    std::shuffle(order.begin(), order.end(), random_order);
    for (int t : order)
      if (fibers[t].state == READY) {
        current = t;
        threadIdx = {(unsigned)t, 0, 0};
        swapcontext(&machine, &fibers[t].context);
        moved = true;
      }
    for (int w = 0; w < threads; w += WARP_SIZE)
      if (release(w, std::min(w + WARP_SIZE, threads), AT_WARP)) moved = true, warp_time[w / WARP_SIZE]++;
    if (release(0, threads, AT_BLOCK)) moved = true, block_time++;
    if (!moved) break;
  }
  for (Fiber& f : fibers) stuck |= f.state == AT_WARP || f.state == AT_BLOCK;
}

// 0, or 1 where threads wait at different barriers for ever.
static int run(void (*kernel)(void*), void* arguments, int blocks, int threads, unsigned seed) {
  body = kernel;
  body_arguments = arguments;
  random_order.seed(seed);
  gridDim = {(unsigned)blocks, 1, 1};
  blockDim = {(unsigned)threads, 1, 1};
  stuck = false;
  fibers.clear();
  std::vector<int> order(blocks);
  for (int b = 0; b < blocks; b++) order[b] = b;
  std::shuffle(order.begin(), order.end(), random_order);
  for (int b : order) {
    blockIdx = {(unsigned)b, 0, 0};
    run_block(threads);
  }
  return stuck;
}

}  // namespace simt

// A number of a block's memory. It has no constructor: what was not written is what the block's memory is filled with, and
// then thread is -1, nobody.
template <class T> struct Watched {
  struct Visit {
    int thread, at_block, at_warp;
    void now() { thread = simt::current, at_block = simt::block_time, at_warp = simt::warp_time[thread / simt::WARP_SIZE]; }
    bool apart() const {  // whether a barrier is between, or it is the same thread
      const int t = simt::current, w = t / simt::WARP_SIZE;
      return thread < 0 || thread == t || at_block != simt::block_time ||
             (thread / simt::WARP_SIZE == w && at_warp != simt::warp_time[w]);
    }
  };
  T value;
  Visit written, read, read_by_another;

  T get() const {
    Watched& own = const_cast<Watched&>(*this);
    if (!written.apart()) simt::races++;
    if (read.thread != simt::current) own.read_by_another = read;
    own.read.now();
    return value;
  }
  T set(T next) {
    if (!written.apart() || !read.apart() || !read_by_another.apart()) simt::races++;
    written.now();
    return value = next;
  }
  operator T() const { return get(); }
  Watched& operator=(T next) { set(next); return *this; }
  Watched& operator=(const Watched& other) { set(other.get()); return *this; }
  template <class U> Watched& operator+=(U more) { set(get() + more); return *this; }
};

static inline void simt_barrier(int number, bool whole_block) {
  if (number != simt::skipped) simt::wait(whole_block ? simt::AT_BLOCK : simt::AT_WARP);
}
extern "C" void simt_skip(int number) { simt::skipped = number; }
extern "C" long simt_races() { const long n = simt::races; simt::races = 0; return n; }
extern "C" long simt_passed() { const long n = simt::passed; simt::passed = 0; return n; }
