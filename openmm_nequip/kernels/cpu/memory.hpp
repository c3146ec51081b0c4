// Arrays that are kept from step to step and only grow.
//
// Memory: an array starts at a page; from 2 MB on at a huge page, where the system gives them, because features and edges are
// read here and there and few addresses have then to be looked up. It has room for SPARE numbers beyond its end.
//
// | symbol     | meaning                                                                                              |
// | `Array<T>` | a pointer that owns what it points to; `make_room(n)` keeps nothing of what was there                |
// | SPARE      | numbers beyond the end: a vector that is loaded or stored from the last edge on (at most 16 numbers)  |
// |            | stays inside, and rows of such arrays behind one another do not begin in each other's cache lines    |
#pragma once
#include <cstddef>
#include <cstdlib>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

constexpr long SPARE = 64;
constexpr size_t PAGE = 4096, HUGE_PAGE = 1 << 21;

class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }

  // At least so many bytes, with an eighth to spare so that lists that vary in length do not ask for memory every time.
  void* get(size_t bytes) {
    if (bytes > size) {
      std::free(data);
      size = 0;
      const size_t page = bytes < HUGE_PAGE ? PAGE : HUGE_PAGE;
      const size_t wanted = (bytes + bytes / 8 + page - 1) / page * page;
      data = (char*)std::aligned_alloc(page, wanted);
      if (!data) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
      if (page == HUGE_PAGE) madvise(data, wanted, MADV_HUGEPAGE);
#endif
      size = wanted;
    }
    return data;
  }

 private:
  char* data = nullptr;
  size_t size = 0;
};

template <class T> class Array {
 public:
  operator T*() const { return data; }
  void make_room(size_t count) { data = (T*)memory.get((count + SPARE) * sizeof(T)); }

 private:
  T* data = nullptr;
  Memory memory;
};

}  // namespace
