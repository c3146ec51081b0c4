// A step: edges, layers forward, readout, layers backward, forces. Included after the generated constants and functions.

namespace {

struct Layer {
  void (*forward)(const Edges&, const REAL*, const REAL*, int, REAL*);
  void (*backward)(Edges&, const REAL*, const REAL*, const REAL*, int, REAL*);
  int inputs, middle, gate, outputs;  // numbers in a row
  const Mix* first;
  int n_first;
  const Mix* second;
  int n_second;
  const Mix* connection;
  int n_connection;
  const Segment* segments;
  int n_segments;
};

struct Step {
  const REAL* blob;
  const double* constants;  // 1/cutoffs, scales, shifts, charges
  Edges in, out;  // edges by their centre and by their neighbour
  Edges* target;  // those by their neighbour: `out`, or `in` where every edge has its mirror image
  Memory m_types, m_x[LAYERS], m_y[LAYERS], m_g[2], m_forces, m_scratch;
  int* types;
  REAL *x[LAYERS], *y[LAYERS], *g[2];
  double* forces;
  long n = -1, edges = -1;
  // The kernels have an order of the atoms of their own: the caller's number of each, and where each of the caller's is.
  Memory m_order, m_place, m_pos, m_energies;
  int *order, *place;
  double *pos, *energies;
  // Of a trajectory: positions (in that order) and cell for which the edges were found.
  Memory m_old;
  double *old, old_cell[9];
  long followed = -1;
  Team* team = nullptr;

  ~Step() {
    if (team && team->is_here()) delete team;
  }
  // As many threads as can be had, `threads` at most. After a fork the old ones are left alone.
  int gather(int threads) {
    if (!team || !team->is_here()) team = new Team;
    return team->gather(threads);
  }
};

// How much memory a thread has for the rows of a tile.
enum { TILE_ROOM = MAX_TILE * (WIDEST_MIDDLE + 2 * WIDEST_GATE + 2 * WIDEST_INPUT + READOUT_ROOM) + 64 };

void make_tile(Tile& tile, const int* types, int start, int stop) {
  tile.n = stop - start;
  for (int i = 0; i < tile.n; i++) {  // insertion sort by type: a handful of rows
    const int t = types[start + i];
    int at = i;
    for (; at > 0 && tile.type[at - 1] > t; at--) {
      tile.type[at] = tile.type[at - 1];
      tile.order[at] = tile.order[at - 1];
    }
    tile.type[at] = t;
    tile.order[at] = i;
  }
}

INLINE void clear(REAL* p, long count) { std::memset(p, 0, count * sizeof(REAL)); }

// Energies of a tile from the last features, and the gradient of the total energy with respect to those.
void readout(const Step& s, const Tile& tile, int start, const REAL* z, REAL* gz, REAL* room, double* energies) {
  REAL *a[N_READOUT + 1], *g[N_READOUT + 1];
  const REAL* xs[MAX_TILE];
  REAL* ys[MAX_TILE];
  const double *scales = s.constants + TYPES * TYPES, *shifts = scales + TYPES;
  long at = 0;
  for (int i = 0; i < N_READOUT; i++) {
    const int k = READOUT[i].k, m = READOUT[i].m;
    a[i] = room + at;
    g[i] = a[i] + MAX_TILE * m;
    at += 2 * MAX_TILE * m;
    clear(a[i], tile.n * m);
    for (int r = 0; r < tile.n; r++) {
      xs[r] = i ? g[i - 1] + r * k : z + r * k;
      ys[r] = a[i] + r * m;
    }
    multiply(tile.n, k, m, xs, s.blob + READOUT[i].weights, ys);
    if (i + 1 < N_READOUT)  // activated values lie in g for now
      for (int q = 0; q < tile.n * m; q += LANES) {
        V f, d;
        act(READOUT_KIND, load(a[i] + q), f, d);
        store(g[i] + q, f * (REAL)READOUT_FACTOR);
      }
  }
  const int last = N_READOUT - 1, m = READOUT[last].m;
  clear(g[last], tile.n * m);
  for (int r = 0; r < tile.n; r++) {
    const int t = s.types[start + r];
    energies[start + r] = scales[t] * a[last][r * m] + shifts[t];
    g[last][r * m] = (REAL)scales[t];
  }
  for (int i = last; i >= 0; i--) {
    const int k = READOUT[i].k, m = READOUT[i].m;
    REAL* to = i ? g[i - 1] : gz;
    clear(to, tile.n * k);
    for (int r = 0; r < tile.n; r++) {
      xs[r] = g[i] + r * m;
      ys[r] = to + r * k;
    }
    multiply(tile.n, m, k, xs, s.blob + READOUT[i].transposed, ys);
    if (i)
      for (int q = 0; q < tile.n * k; q += LANES) {
        V f, d;
        act(READOUT_KIND, load(a[i - 1] + q), f, d);
        store(to + q, load(to + q) * d * (REAL)READOUT_FACTOR);
      }
  }
}

// From the gradient of a layer's output (gz) to that of its gate's input (kept in y) and of its convolution (g).
void node_backward(Step& s, int k, const Tile& tile, int start, const REAL* gz, REAL* gy, REAL* g) {
  const Layer& l = NETWORK[k];
  REAL* y = s.y[k] + (long)start * l.gate;
  for (int r = 0; r < tile.n; r++) gate_backward(l.segments, l.n_segments, y + r * l.gate, gz + r * l.outputs, gy + r * l.gate);
  std::memcpy(y, gy, (size_t)tile.n * l.gate * sizeof(REAL));
  clear(g + (long)start * l.middle, (long)tile.n * l.middle);
  mix(l.second, l.n_second, true, s.blob, tile, gy, l.gate, g + (long)start * l.middle, l.middle);
}

void forward_tile(Step& s, int k, int start, int stop, REAL* room, double* energies) {
  const Layer& l = NETWORK[k];
  REAL *middle = room, *z = middle + MAX_TILE * WIDEST_MIDDLE, *gz = z + MAX_TILE * WIDEST_INPUT,
       *gy = gz + MAX_TILE * WIDEST_INPUT, *rest = gy + 2 * MAX_TILE * WIDEST_GATE;
  Tile tile;
  make_tile(tile, s.types, start, stop);
  const REAL* x = k ? s.x[k] : s.blob + FIRST_FEATURES;
  for (int r = 0; r < tile.n; r++) l.forward(s.in, s.blob, x, start + r, middle + (long)r * l.middle);
  REAL* y = s.y[k] + (long)start * l.gate;
  if (k == 0)
    for (int r = 0; r < tile.n; r++)
      std::memcpy(y + r * l.gate, s.blob + FIRST_CONNECTION + (long)s.types[start + r] * l.gate, l.gate * sizeof(REAL));
  mix(l.second, l.n_second, false, s.blob, tile, middle, l.middle, y, l.gate);
  for (int r = 0; r < tile.n; r++) gate_forward(l.segments, l.n_segments, y + r * l.gate, z + r * l.outputs);
  if (k + 1 < LAYERS) {
    const Layer& next = NETWORK[k + 1];
    REAL *nx = s.x[k + 1] + (long)start * next.inputs, *ny = s.y[k + 1] + (long)start * next.gate;
    clear(nx, (long)tile.n * next.inputs);
    clear(ny, (long)tile.n * next.gate);
    mix(next.first, next.n_first, false, s.blob, tile, z, next.inputs, nx, next.inputs);
    mix(next.connection, next.n_connection, false, s.blob, tile, z, next.inputs, ny, next.gate);
  } else {
    readout(s, tile, start, z, gz, rest, energies);
    node_backward(s, k, tile, start, gz, gy, s.g[k % 2]);
  }
}

void backward_tile(Step& s, int k, int start, int stop, REAL* room) {
  const Layer& l = NETWORK[k];
  REAL *gx = room, *gz = gx + MAX_TILE * WIDEST_INPUT, *gy = gz + MAX_TILE * WIDEST_INPUT;
  Tile tile;
  make_tile(tile, s.types, start, stop);
  for (int r = 0; r < tile.n; r++) {
    const REAL* x = k ? s.x[k] + (long)(start + r) * l.inputs : s.blob + FIRST_FEATURES + (long)s.types[start + r] * l.inputs;
    l.backward(*s.target, s.blob, s.g[k % 2], x, start + r, gx + r * l.inputs);
  }
  if (k == 0) return;
  clear(gz, (long)tile.n * l.inputs);
  mix(l.first, l.n_first, true, s.blob, tile, gx, l.inputs, gz, l.inputs);
  mix(l.connection, l.n_connection, true, s.blob, tile, s.y[k] + (long)start * l.gate, l.gate, gz, l.inputs);
  node_backward(s, k - 1, tile, start, gz, gy, s.g[(k + 1) % 2]);
}

#if ZBL
// Screened repulsion of a pair and its derivative.
double repulsion(double zi, double zj, double r, double recip, double& slope) {
  static const double c[] = {0.02817, 0.28022, 0.50986, 0.18175}, d[] = {-0.20162, -0.40290, -0.94229, -3.19980};
  const double scale = (std::pow(zi, 0.23) + std::pow(zj, 0.23)) / 0.46850, p = ZBL_POWER, x = r * recip;
  double psi = 0, dpsi = 0;
  for (int i = 0; i < 4; i++) {
    const double e = c[i] * std::exp(d[i] * scale * r);
    psi += e;
    dpsi += d[i] * scale * e;
  }
  const double a = (p + 1) * (p + 2) / 2, b = p * (p + 2), h = p * (p + 1) / 2, top = std::pow(x, p - 1);
  const double cut = 1 - top * x * (a - x * (b - x * h));
  const double dcut = -top * (a * p - x * (b * (p + 1) - x * h * (p + 2))) * recip;
  const double q = ZBL_FACTOR * zi * zj / r;
  slope = q * (dpsi * cut + psi * dcut - psi * cut / r);
  return q * psi * cut;
}
#endif

// Forces and virial of the edges of which atom j is the neighbour.
void edge_forces(const Step& s, long j, double* forces, double* virial) {
  const Edges& e = *s.target;
  for (int at = e.first[j]; at < e.first[j] + e.count[j]; at++) {
    const double b = e.back, u[3] = {b * e.u[0][at], b * e.u[1][at], b * e.u[2][at]}, r = e.length[at];
    const double h[3] = {(double)e.g_u[0][at], (double)e.g_u[1][at], (double)e.g_u[2][at]};
    const double along = h[0] * u[0] + h[1] * u[1] + h[2] * u[2];
    double radial = e.g_radial[at] * e.slope[at];
#if ZBL
    const double* charges = s.constants + TYPES * TYPES + 2 * TYPES;
    const int ti = e.kind[at], tj = s.types[j];
    double slope;
    repulsion(charges[ti], charges[tj], r, s.constants[ti * TYPES + tj], slope);
    radial += slope;
#endif
    const int i = e.near[at];
    double g[3];
    for (int a = 0; a < 3; a++) {
      g[a] = radial * u[a] + (h[a] - along * u[a]) / r;
      forces[3 * j + a] -= g[a];
      forces[3 * i + a] += g[a];
    }
    for (int a = 0; a < 3; a++)
      for (int b = 0; b < 3; b++) virial[3 * a + b] -= 0.5 * r * (g[a] * u[b] + g[b] * u[a]);
  }
}

// Positions are s.pos and energies go to s.energies, in the order of the kernels; forces are in the caller's.
void run(Step& s, int threads, const double* cell, double* forces, double* virial) {
  const long n = s.n, edges = s.edges;
  // A negative number asks for those of OpenMP.
  const bool lent = threads < 0 && Team::can_borrow();
  threads = threads < 0 ? -threads : threads ? threads : 1;
  const int own = s.gather(lent ? 1 : threads);
  threads = lent ? threads : own;
  const double* pos = s.pos;
  double* energies = s.energies;
  std::vector<int> bound(threads + 1, (int)n);
  bound[0] = 0;
  for (int t = 1, i = 0; t < threads; t++) {  // equal shares of edges, and of atoms where there are few edges
    while (i < n && (s.in.row[i] + 4L * i) * threads < (edges + 4L * n) * t) i++;
    bound[t] = i;
  }
  REAL* rooms = s.m_scratch.of<REAL>((long)threads * TILE_ROOM);
  s.forces = s.m_forces.of<double>((long)threads * (3 * n + 16));
  const long share = 3 * n + 16;
  std::atomic<bool> all_good{true};
  const int rows = TILE_ROWS;
  Team& team = *s.team;
  auto work = [&](int t) {
    const int from = bound[t], to = bound[t + 1];
    bool good = true;
    REAL* room = rooms + (long)t * TILE_ROOM;
    double* mine = s.forces + t * share;
    std::memset(mine, 0, share * sizeof(double));
    int kept_in = from < n ? s.in.row[from] : 0, kept_out = from < n ? s.out.row[from] : 0;
    for (int i = from; i < to; i++) {
      good = measure(s.in, i, 1.0, pos, cell, s.types, s.constants, kept_in) && good;
      if (s.target == &s.out) good = measure(s.out, i, -1.0, pos, cell, s.types, s.constants, kept_out) && good;
      Edges& e = *s.target;
      const int a = e.first[i], c = e.count[i];
      std::memset(e.g_radial + a, 0, c * sizeof(REAL));
      for (int b = 0; b < 3; b++) std::memset(e.g_u[b] + a, 0, c * sizeof(REAL));
    }
    if (!good) all_good = false;
    team.meet();
    for (int k = 0; k < LAYERS; k++) {
      for (int i = from; i < to; i += rows) forward_tile(s, k, i, i + rows < to ? i + rows : to, room, energies);
      team.meet();
    }
    for (int k = LAYERS - 1; k >= 0; k--) {
      for (int i = from; i < to; i += rows) backward_tile(s, k, i, i + rows < to ? i + rows : to, room);
      if (k) team.meet();
    }
    for (int j = from; j < to; j++) {
      edge_forces(s, j, mine, mine + 3 * n);
#if ZBL
      const double* charges = s.constants + TYPES * TYPES + 2 * TYPES;
      for (int at = s.in.first[j]; at < s.in.first[j] + s.in.count[j]; at++) {
        const int ti = s.types[j], tj = s.in.kind[at];
        double slope;
        energies[j] += repulsion(charges[ti], charges[tj], s.in.length[at], s.constants[ti * TYPES + tj], slope);
      }
#endif
    }
    team.meet();
    for (int i = from; i < to; i++)
      for (int a = 0; a < 3; a++) {
        double sum = 0;
        for (int o = 0; o < threads; o++) sum += s.forces[o * share + 3L * i + a];
        forces[3L * s.order[i] + a] = sum;
      }
  };
  const auto call = [](void* context, int t) { (*(decltype(work)*)context)(t); };
  if (!lent) team.run(threads, call, &work);
  else if (!team.run_borrowed(threads, call, &work)) return run(s, threads, cell, forces, virial);
  for (int a = 0; a < 9; a++) {
    virial[a] = 0;
    for (int o = 0; o < threads; o++) virial[a] += s.forces[o * share + 3 * n + a];
  }
  if (!all_good) energies[0] = std::numeric_limits<double>::quiet_NaN();
}

// Most boxes along a direction when atoms are ordered: their number must fit an int.
enum { MOST_BINS = 1024 };

// What a call may answer.
enum { DONE, OUT_OF_MEMORY, OUT_OF_RANGE, STALE, BAD_POSITIONS, BAD_RESULT };

// Order the atoms by boxes of about a cutoff. What an atom reads of its neighbours then lies close together in memory,
// whatever order the caller has: at 12,288 atoms of water a quarter of the time of a step.
void arrange(Step& s, int64_t n, const double* pos, const double* cell) {
  s.order = s.m_order.of<int>(n);
  s.place = s.m_place.of<int>(n);
  double widest = s.constants[0];
  for (int t = 1; t < TYPES * TYPES; t++) widest = s.constants[t] < widest ? s.constants[t] : widest;
  double normal[3][3], bins[3], volume = 0;
  for (int a = 0; a < 3; a++) {
    const double *b = cell + 3 * ((a + 1) % 3), *c = cell + 3 * ((a + 2) % 3);
    for (int d = 0; d < 3; d++) normal[a][d] = b[(d + 1) % 3] * c[(d + 2) % 3] - b[(d + 2) % 3] * c[(d + 1) % 3];
  }
  for (int d = 0; d < 3; d++) volume += cell[d] * normal[0][d];
  for (int a = 0; a < 3; a++) {
    const double* m = normal[a];
    const double count = std::fabs(volume) / std::sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]) * widest;
    bins[a] = count >= 1 && count < MOST_BINS ? std::floor(count) : (count >= MOST_BINS ? (double)MOST_BINS : 1.0);
  }
  std::vector<int> box(n);
  for (int64_t i = 0; i < n; i++) {
    int at = 0;
    for (int a = 0; a < 3; a++) {
      double f = 0;
      for (int d = 0; d < 3; d++) f += pos[3 * i + d] * normal[a][d];
      f = (f / volume - std::floor(f / volume)) * bins[a];
      at = at * (int)bins[a] + (f > 0 && f < bins[a] ? (int)f : 0);  // what is not finite goes anywhere
    }
    box[i] = at;
    s.order[i] = (int)i;
  }
  std::stable_sort(s.order, s.order + n, [&box](int a, int b) { return box[a] < box[b]; });
  for (int64_t i = 0; i < n; i++) s.place[s.order[i]] = (int)i;
}

// Sort the edges into rows and make room for everything that depends on their number.
int set_graph(Step& s, int64_t n, int64_t edges, const int64_t* types, const int64_t* edge_index, const double* shifts,
              const double* pos, const double* cell) {
  s.n = s.followed = -1;
  for (int64_t i = 0; i < n; i++)
    if (types[i] < 0 || types[i] >= TYPES) return OUT_OF_RANGE;
  for (int64_t e = 0; e < 2 * edges; e++)
    if (edge_index[e] < 0 || edge_index[e] >= n) return OUT_OF_RANGE;
  arrange(s, n, pos, cell);
  s.types = s.m_types.of<int>(n);
  s.pos = s.m_pos.of<double>(3 * n);
  s.energies = s.m_energies.of<double>(n);
  for (int64_t i = 0; i < n; i++) s.types[i] = (int)types[s.order[i]];
  s.in.sort(n, edges, edge_index, edge_index + edges, shifts, s.place);
  s.out.sort(n, edges, edge_index + edges, edge_index, shifts, s.place);
  const bool one = mirrored(s.in, s.out, n, s.constants);
  s.target = one ? &s.in : &s.out;
  s.in.back = one ? -1 : 1;
  s.in.prepare(edges);
  if (!one) s.out.prepare(edges);
  s.target->gradients(edges);
  for (int k = 0; k < LAYERS; k++) {
    s.x[k] = s.m_x[k].of<REAL>(k ? n * NETWORK[k].inputs : 0);
    s.y[k] = s.m_y[k].of<REAL>(n * NETWORK[k].gate);
  }
  for (int k = 0; k < 2; k++) s.g[k] = s.m_g[k].of<REAL>(n * WIDEST_MIDDLE);
  s.n = n;
  s.edges = edges;
  return DONE;
}

}  // namespace

extern "C" {

void* fused_create(const REAL* blob, const double* constants) {
  Step* s = new (std::nothrow) Step;
  if (s) {
    s->blob = blob;
    s->constants = constants;
  }
  return s;
}

void fused_destroy(void* step) { delete (Step*)step; }

// 0, or 1 if memory ran out, 2 if an index is out of range. With `keep`, edges and types are those of the last call.
// The number of threads is as in run().
int fused_evaluate(void* step, int threads, int keep, int64_t n, int64_t edges, const int64_t* types, const int64_t* edge_index,
                   const double* shifts, const double* pos, const double* cell, double* energies, double* forces,
                   double* virial) {
  Step& s = *(Step*)step;
  try {
    if (!keep || s.n != n || s.edges != edges)
      if (const int problem = set_graph(s, n, edges, types, edge_index, shifts, pos, cell)) return problem;
    for (int64_t i = 0; i < n; i++)
      for (int a = 0; a < 3; a++) s.pos[3 * i + a] = pos[3L * s.order[i] + a];
    run(s, threads, cell, forces, virial);
    for (int64_t i = 0; i < n; i++) energies[s.order[i]] = s.energies[i];
  } catch (const std::bad_alloc&) {
    s.n = -1;
    return OUT_OF_MEMORY;
  }
  return DONE;
}
}
