// What every fused model shares: vectors, small matrix products, activations, edges, and the order of a step.
// The generated file defines REAL, LANES and the model's constants before it includes this.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

typedef REAL V __attribute__((vector_size(sizeof(REAL) * LANES)));
#if REAL_IS_FLOAT
typedef int32_t Int;
#else
typedef int64_t Int;
#endif
typedef Int VI __attribute__((vector_size(sizeof(REAL) * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE V splat(REAL a) { return V{} + a; }
INLINE V load(const REAL* p) { return *(const V*)p; }
INLINE V loadu(const REAL* p) { V v; std::memcpy(&v, p, sizeof v); return v; }
INLINE void store(REAL* p, V v) { *(V*)p = v; }

template <int N> struct Half {
  typedef REAL T __attribute__((vector_size(sizeof(REAL) * N)));
  static inline __attribute__((always_inline)) REAL sum(T v) {
    typename Half<N / 2>::T a, b;
    std::memcpy(&a, &v, sizeof a);
    std::memcpy(&b, (const char*)&v + sizeof a, sizeof b);
    return Half<N / 2>::sum(a + b);
  }
};
template <> struct Half<2> {
  typedef REAL T __attribute__((vector_size(sizeof(REAL) * 2)));
  static inline __attribute__((always_inline)) REAL sum(T v) { return v[0] + v[1]; }
};
INLINE REAL hsum(V v) { return Half<LANES>::sum(v); }

// exp by 2^n times a polynomial of the fraction; arguments beyond the range are clamped.
INLINE V vexp(V x) {
#if REAL_IS_FLOAT
  const REAL low = -87.0f, high = 88.0f;
  const int bias = 127, bits = 23;
#else
  const REAL low = -708.0, high = 709.0;
  const int bias = 1023, bits = 52;
#endif
  x = x < low ? splat(low) : x;
  x = x > high ? splat(high) : x;
  V k = x * (REAL)1.4426950408889634;
  k = k + (k < 0 ? splat((REAL)-0.5) : splat((REAL)0.5));
  VI n = __builtin_convertvector(k, VI);
  V m = __builtin_convertvector(n, V);
#if REAL_IS_FLOAT
  V r = x - m * 0.693359375f;
  r = r + m * 2.12194440e-4f;
  const REAL c[] = {1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
  const int top = 7;
#else
  V r = x - m * 0.693147180369123816490;
  r = r - m * 1.90821492927058770002e-10;
  const REAL c[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
                    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
  const int top = 13;
#endif
  V p = splat(c[top]);
  for (int i = top - 1; i >= 0; i--) p = p * r + c[i];
  VI e = (n + bias) << bits;
  V s;
  std::memcpy(&s, &e, sizeof s);
  return p * s;
}

enum { IDENTITY, SILU, TANH, ABS, SSP, MISH, GELU };

// Value and derivative of an activation.
INLINE void act(int kind, V x, V& f, V& d) {
  const V one = splat(1);
  if (kind == SILU) {
    V s = one / (one + vexp(-x));
    f = x * s;
    d = s * (one + x * (one - s));
  } else if (kind == TANH) {
    V t = one - 2 / (vexp(2 * x) + one);
    f = t;
    d = one - t * t;
  } else if (kind == ABS) {
    f = x < 0 ? -x : x;
    d = x < 0 ? -one : (x > 0 ? one : V{});
  } else if (kind == IDENTITY) {
    f = x;
    d = one;
  } else {  // rare: lane by lane
    for (int i = 0; i < LANES; i++) {
      double a = x[i], softplus = a > 0 ? a + std::log1p(std::exp(-a)) : std::log1p(std::exp(a));
      double s = 1 / (1 + std::exp(-a));
      if (kind == SSP) {
        f[i] = softplus - 0.6931471805599453;
        d[i] = s;
      } else if (kind == MISH) {
        double t = std::tanh(softplus);
        f[i] = a * t;
        d[i] = t + a * (1 - t * t) * s;
      } else {
        double c = 0.5 * std::erfc(-a * 0.7071067811865476);
        f[i] = a * c;
        d[i] = c + a * 0.3989422804014327 * std::exp(-0.5 * a * a);
      }
    }
  }
}

// ---- small matrix products: rows of x times a matrix, added to rows of y ----

template <int R, int C> INLINE void product(int k, const REAL* const* x, const REAL* w, int ld, REAL* const* y) {
  V acc[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) acc[r][c] = load(y[r] + c * LANES);
  for (int i = 0; i < k; i++) {
    V b[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) b[c] = load(w + (long)i * ld + c * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      V a = splat(x[r][i]);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) acc[r][c] += a * b[c];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) store(y[r] + c * LANES, acc[r][c]);
}

#ifndef ROWS
#define ROWS 8
#endif

template <int R> INLINE void columns(int k, int m, const REAL* const* x, const REAL* w, REAL* const* y) {
  REAL* out[R];
  int c = 0;
  for (; c + 2 * LANES <= m; c += 2 * LANES) {
    for (int r = 0; r < R; r++) out[r] = y[r] + c;
    product<R, 2>(k, x, w + c, m, out);
  }
  for (; c < m; c += LANES) {
    for (int r = 0; r < R; r++) out[r] = y[r] + c;
    product<R, 1>(k, x, w + c, m, out);
  }
}

// y[r] += x[r] w for n rows; w is (k, m).
static void multiply(int n, int k, int m, const REAL* const* x, const REAL* w, REAL* const* y) {
  int r = 0;
  for (; r + ROWS <= n; r += ROWS) columns<ROWS>(k, m, x + r, w, y + r);
  for (; r + 4 <= n; r += 4) columns<4>(k, m, x + r, w, y + r);
  for (; r + 2 <= n; r += 2) columns<2>(k, m, x + r, w, y + r);
  for (; r < n; r++) columns<1>(k, m, x + r, w, y + r);
}

// A linear map between two blocks: offsets in a row, (padded) channels, components, and where its matrices are.
struct Mix {
  int source, k, target, m, components, typed;
  long weights, transposed;
};

// Atoms of a tile by type: runs of equal type in `order`.
struct Tile {
  int n;
  int order[MAX_TILE];
  int type[MAX_TILE];
};

// y += x W (or, transposed, y += x W^T) for the rows of a tile; `a` and `b` are the tile's first rows.
static void mix(const Mix* maps, int count, bool transposed, const REAL* blob, const Tile& tile, const REAL* a, long lda,
                REAL* b, long ldb) {
  const REAL* xs[MAX_TILE * MAX_COMPONENTS];
  REAL* ys[MAX_TILE * MAX_COMPONENTS];
  for (int i = 0; i < count; i++) {
    const Mix& map = maps[i];
    const int k = transposed ? map.m : map.k, m = transposed ? map.k : map.m;
    const int from = transposed ? map.target : map.source, to = transposed ? map.source : map.target;
    const REAL* w = blob + (transposed ? map.transposed : map.weights);
    for (int start = 0; start < tile.n;) {
      int stop = start, rows = 0;
      for (; stop < tile.n && (!map.typed || tile.type[stop] == tile.type[start]); stop++)
        for (int c = 0; c < map.components; c++, rows++) {
          xs[rows] = a + tile.order[stop] * lda + from + c * k;
          ys[rows] = b + tile.order[stop] * ldb + to + c * m;
        }
      multiply(rows, k, m, xs, w + (map.typed ? (long)tile.type[start] * k * m : 0), ys);
      start = stop;
    }
  }
}

// One block of a gate: `gate` < 0 for scalars.
struct Segment {
  int in, out, channels, components, gate, kind;
  REAL factor;
};

static void gate_forward(const Segment* parts, int count, const REAL* y, REAL* z) {
  for (int i = 0; i < count; i++) {
    const Segment& s = parts[i];
    for (int c = 0; c < s.channels; c += LANES) {
      V f, d;
      act(s.kind, load(y + (s.gate < 0 ? s.in : s.gate) + c), f, d);
      f *= s.factor;
      if (s.gate < 0) store(z + s.out + c, f);
      else
        for (int m = 0; m < s.components; m++)
          store(z + s.out + m * s.channels + c, load(y + s.in + m * s.channels + c) * f);
    }
  }
}

// Gradient of the gate's input from that of its output; g may not be y.
static void gate_backward(const Segment* parts, int count, const REAL* y, const REAL* gz, REAL* gy) {
  for (int i = 0; i < count; i++) {
    const Segment& s = parts[i];
    for (int c = 0; c < s.channels; c += LANES) {
      V f, d;
      act(s.kind, load(y + (s.gate < 0 ? s.in : s.gate) + c), f, d);
      f *= s.factor;
      d *= s.factor;
      if (s.gate < 0) store(gy + s.in + c, d * load(gz + s.out + c));
      else {
        V sum = V{};
        for (int m = 0; m < s.components; m++) {
          V g = load(gz + s.out + m * s.channels + c);
          sum += g * load(y + s.in + m * s.channels + c);
          store(gy + s.in + m * s.channels + c, g * f);
        }
        store(gy + s.gate + c, sum * d);
      }
    }
  }
}

// ---- edges ----

enum : size_t { HUGE_PAGE = 1 << 21 };

// Memory that is kept from step to step and only grows.
struct Memory {
  char* data = nullptr;
  size_t size = 0;
  ~Memory() { std::free(data); }
  void* get(size_t bytes) {
    if (bytes > size) {
      std::free(data);
      size = 0;
      // Large arrays are read here and there: in huge pages, where the system gives them, few addresses are looked up.
      const size_t page = bytes < HUGE_PAGE ? 4096 : HUGE_PAGE;
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
  template <class T> T* of(size_t count) { return (T*)get((count + 64) * sizeof(T)); }
};

// The edges of every atom, as centre or as neighbour. The candidates of atom i are other[row[i]] .. other[row[i + 1]]; those
// within the cutoff lie in all the other arrays from first[i] on, count[i] of them, without gaps between the atoms of a
// thread.
struct Edges {
  Memory m_row, m_first, m_count, m_other, m_shift, m_near, m_kind, m_knot, m_fraction, m_u, m_length, m_slope;
  Memory m_radial, m_radial_slope, m_g;
  int *row, *first, *count, *other, *near, *kind, *knot;
  float* shift;  // whole numbers
  REAL *fraction, *u[3], *radial, *radial_slope;
  double *length, *slope;
  REAL *g_radial, *g_u[3];
  REAL back = 1;  // times u is the direction of the edge that leads to the atom: -1 where one list serves both ways

  // `place` is where an atom of the caller's lies.
  void sort(long n, long edges, const int64_t* key, const int64_t* value, const double* shifts, const int* place) {
    row = m_row.of<int>(n + 1);
    other = m_other.of<int>(edges);
    shift = m_shift.of<float>(3 * edges);
    std::memset(row, 0, (n + 1) * sizeof(int));
    for (long e = 0; e < edges; e++) row[place[key[e]] + 1]++;
    for (long i = 0; i < n; i++) row[i + 1] += row[i];
    first = m_first.of<int>(n);
    count = m_count.of<int>(n);
    for (long i = 0; i < n; i++) count[i] = row[i];
    for (long e = 0; e < edges; e++) {
      const int at = count[place[key[e]]]++;
      other[at] = place[value[e]];
      for (int a = 0; a < 3; a++) shift[3 * (long)at + a] = (float)shifts[3 * e + a];
    }
  }
  // Room for the geometry.
  void prepare(long edges) {
    near = m_near.of<int>(edges);
    kind = m_kind.of<int>(edges);
    knot = m_knot.of<int>(edges);
    fraction = m_fraction.of<REAL>(edges);
    REAL* all = m_u.of<REAL>(3 * (edges + 64));
    for (int a = 0; a < 3; a++) u[a] = all + a * (edges + 64);
    length = m_length.of<double>(edges);
    slope = m_slope.of<double>(edges);
#if !TABLES
    radial = m_radial.of<REAL>(edges * BESSEL_PADDED);
    radial_slope = m_radial_slope.of<REAL>(edges * BESSEL_PADDED);
#endif
  }
  // Room for the gradients of the edges that lead to an atom.
  void gradients(long edges) {
    REAL* all = m_g.of<REAL>(4 * (edges + 64));
    g_radial = all;
    for (int a = 0; a < 3; a++) g_u[a] = all + (a + 1) * (edges + 64);
  }
};

// Whether the edges that lead to each atom are those that lead from it, reversed, in the same order.
static bool mirrored(const Edges& from, const Edges& to, long n, const double* reciprocal) {
  for (int a = 0; a < TYPES; a++)
    for (int b = 0; b < a; b++)
      if (reciprocal[a * TYPES + b] != reciprocal[b * TYPES + a]) return false;
  if (std::memcmp(from.row, to.row, (n + 1) * sizeof(int)) != 0) return false;
  const long edges = from.row[n];
  if (std::memcmp(from.other, to.other, edges * sizeof(int)) != 0) return false;
  for (long q = 0; q < 3 * edges; q++)
    if (from.shift[q] != -to.shift[q]) return false;
  return true;
}

// Geometry of the edges of atom i, from place `kept` on, which moves behind them; sign = 1 where the atom is the centre.
// False if a length is not a number.
static bool measure(Edges& e, long i, double sign, const double* pos, const double* cell, const int* types,
                    const double* reciprocal, int& kept) {
  bool good = true;
  e.first[i] = kept;
  for (int s = e.row[i]; s < e.row[i + 1]; s++) {
    const int j = e.other[s];
    const float* k = e.shift + 3 * (long)s;
    double v[3];
    for (int a = 0; a < 3; a++)
      v[a] = sign * (pos[3 * j + a] - pos[3 * i + a]) + k[0] * cell[a] + k[1] * cell[3 + a] + k[2] * cell[6 + a];
    const double recip = sign > 0 ? reciprocal[types[i] * TYPES + types[j]] : reciprocal[types[j] * TYPES + types[i]];
    const double square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    if (square * (recip * recip) > 1.0 + 1e-12) continue;  // before the root: many candidates end here
    const double r = std::sqrt(square), x = r * recip;
    if (x >= 1.0) continue;
    if (!(r > 0)) { good = false; continue; }
    e.near[kept] = j;
    e.kind[kept] = types[j];
    e.length[kept] = r;
    for (int a = 0; a < 3; a++) e.u[a][kept] = (REAL)(v[a] / r);
#if TABLES
    const double t = x * KNOTS;
    int knot = (int)t;
    if (knot > KNOTS - 1) knot = KNOTS - 1;
    e.knot[kept] = knot;
    e.fraction[kept] = (REAL)(t - knot);
    e.slope[kept] = recip * KNOTS;
#else
    bessel(x, e.radial + (long)kept * BESSEL_PADDED, e.radial_slope + (long)kept * BESSEL_PADDED);
    e.slope[kept] = recip;
#endif
    kept++;
  }
  e.count[i] = kept - e.first[i];
  return good;
}

}  // namespace
