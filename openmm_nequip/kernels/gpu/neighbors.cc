// Positions of the nodes of the graph, and lists of the nodes near each.
//
// Sites are the particles whose positions the model needs: the n_atoms atoms it describes, then those behind cut bonds. Nodes
// are these atoms, then the link caps. A list holds for as long as no node has moved by half the skin; until then the
// positions go on continuously from those of the list, whatever image OpenMM keeps an atom in.
//
// Lists are made by cells: of the box, so that a cell's neighbours and their images are known by number; without a box, of
// space modulo a block of at least three cells each way, where atoms of other blocks are far away and left out by distance.
// Nodes lie in a cell, and candidates in a row, in an order that does not depend on the order of threads.
//
// | array   | meaning                                                                                         |
// | state   | [0] the list is to be made, [1] there is none yet, [2] where slots are too few, those that the node with most
// |         | candidates needs, else 0; [3] lists made so far |
// | frame   | [0-8] box, rows, in model units (lower triangular); [9-11] cells in 1/length: without a box the inverse of a cell's
// |         | side; [12] model lengths in 1 nm; [13] square of the way that a node may go; [14] square of the list's radius |
// | grid    | [0-2] cells, [3-5] how many cells the radius reaches, [6] whether there is a box                  |
// | slots   | room for candidates of a node; candidate q of node i is in slot i*slots + q                      |
// | other, shift | the candidate, and the cell vectors to add to its position: three numbers of ten bits, 512 being 0 |

// A node of which the position is known up to a box vector: in the image next to where it was.
DEVICE void follow(int i, mixed x, mixed y, mixed z, GLOBAL mixed* RESTRICT pos, GLOBAL const mixed* RESTRICT old,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid, GLOBAL int* RESTRICT state) {
  if (!state[1]) {
    mixed dx = x - old[3*i], dy = y - old[3*i+1], dz = z - old[3*i+2];
    if (grid[6]) {
      const mixed kc = floor(dz/frame[8] + (mixed) 0.5);
      dx -= kc*frame[6]; dy -= kc*frame[7]; dz -= kc*frame[8];
      const mixed kb = floor(dy/frame[4] + (mixed) 0.5);
      dx -= kb*frame[3]; dy -= kb*frame[4];
      dx -= floor(dx/frame[0] + (mixed) 0.5)*frame[0];
      x = old[3*i] + dx; y = old[3*i+1] + dy; z = old[3*i+2] + dz;
    }
    if (!(dx*dx + dy*dy + dz*dz <= frame[13])) state[0] = 1;
  }
  pos[3*i] = x; pos[3*i+1] = y; pos[3*i+2] = z;
}

// Positions of the sites, one thread for each of OpenMM's atoms, which lie in an order of their own.
KERNEL void gather(int n_all, int n_atoms, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posq_correction,
    GLOBAL const int* RESTRICT atom_index, GLOBAL const int* RESTRICT offsets, GLOBAL const int* RESTRICT site_of,
    GLOBAL int* RESTRICT place_of, GLOBAL mixed* RESTRICT sites, GLOBAL mixed* RESTRICT pos, GLOBAL const mixed* RESTRICT old,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid, GLOBAL int* RESTRICT state) {
  for (int a = GLOBAL_ID; a < n_all; a += GLOBAL_SIZE) {
    const int s = site_of[atom_index[a]];
    if (s < 0) continue;
    const real4 p = posq[a];
    mixed x = p.x, y = p.y, z = p.z;
#ifdef USE_MIXED_PRECISION
    const real4 rest = posq_correction[a];
    x += (mixed) rest.x; y += (mixed) rest.y; z += (mixed) rest.z;
#endif
    x *= frame[12]; y *= frame[12]; z *= frame[12];
#ifdef WHOLE_MOLECULES
    // Nothing is periodic in the model, but OpenMM has moved molecules by box vectors: back to where they are.
    const int ka = offsets[4*a], kb = offsets[4*a+1], kc = offsets[4*a+2];
    x -= ka*frame[0] + kb*frame[3] + kc*frame[6];
    y -= kb*frame[4] + kc*frame[7];
    z -= kc*frame[8];
#endif
    place_of[s] = a;
    sites[3*s] = x; sites[3*s+1] = y; sites[3*s+2] = z;
    if (s < n_atoms) follow(s, x, y, z, pos, old, frame, grid, state);
  }
}

// From the site q to the site m, the nearest image: the cut bond that a cap saturates.
DEVICE void cut_bond(int q, int m, GLOBAL const mixed* RESTRICT sites, GLOBAL const mixed* RESTRICT frame,
    GLOBAL const int* RESTRICT grid, mixed* bond) {
  mixed x = sites[3*m] - sites[3*q], y = sites[3*m+1] - sites[3*q+1], z = sites[3*m+2] - sites[3*q+2];
  if (grid[6]) {
    const mixed kc = floor(z/frame[8] + (mixed) 0.5);
    x -= kc*frame[6]; y -= kc*frame[7]; z -= kc*frame[8];
    const mixed kb = floor(y/frame[4] + (mixed) 0.5);
    x -= kb*frame[3]; y -= kb*frame[4];
    x -= floor(x/frame[0] + (mixed) 0.5)*frame[0];
  }
  bond[0] = x; bond[1] = y; bond[2] = z;
}

// Positions of the link caps, one thread each: at a fixed distance from q on the line to m.
KERNEL void place_caps(int n_caps, int n_atoms, GLOBAL const int* RESTRICT cap_q, GLOBAL const int* RESTRICT cap_m,
    GLOBAL const mixed* RESTRICT cap_distance, GLOBAL const mixed* RESTRICT sites, GLOBAL mixed* RESTRICT pos,
    GLOBAL const mixed* RESTRICT old, GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid,
    GLOBAL int* RESTRICT state) {
  for (int c = GLOBAL_ID; c < n_caps; c += GLOBAL_SIZE) {
    mixed bond[3];
    const int q = cap_q[c];
    cut_bond(q, cap_m[c], sites, frame, grid, bond);
    const mixed part = cap_distance[c]/sqrt(bond[0]*bond[0] + bond[1]*bond[1] + bond[2]*bond[2]);
    follow(n_atoms + c, sites[3*q] + part*bond[0], sites[3*q+1] + part*bond[1], sites[3*q+2] + part*bond[2], pos, old, frame,
           grid, state);
  }
}

// Cell of a coordinate given in cells, of so many; whatever it is, a cell.
DEVICE int cell_number(mixed at, int cells) {
  const int number = at >= 0 && at < cells ? (int) at : 0;
  return number < cells ? number : cells - 1;
}

// Nodes into cells, by one group of threads. Each thread counts and fills cells of its own, and so needs no atomic operation.
KERNEL void sort_into_cells(int n, GLOBAL const int* RESTRICT state, GLOBAL mixed* RESTRICT pos, GLOBAL mixed* RESTRICT old,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid, GLOBAL int* RESTRICT cell_of,
    GLOBAL int* RESTRICT cell_start, GLOBAL int* RESTRICT cell_end, GLOBAL int* RESTRICT members) {
  LOCAL int totals[CELL_THREADS];
  if (state[0] == 0) return;
  for (int i = LOCAL_ID; i < n; i += LOCAL_SIZE) {
    mixed x = pos[3*i], y = pos[3*i+1], z = pos[3*i+2], fx, fy, fz;
    if (grid[6]) {
      const mixed kc = floor(z/frame[8]);
      x -= kc*frame[6]; y -= kc*frame[7]; z -= kc*frame[8];
      fz = z/frame[8];
      fy = (y - fz*frame[7])/frame[4];
      const mixed kb = floor(fy);
      x -= kb*frame[3]; y -= kb*frame[4];
      fy -= kb;
      fx = (x - fy*frame[3] - fz*frame[6])/frame[0];
      const mixed ka = floor(fx);
      x -= ka*frame[0];
      fx -= ka;
      fx *= grid[0]; fy *= grid[1]; fz *= grid[2];
    }
    else {
      fx = floor(x*frame[9]); fy = floor(y*frame[10]); fz = floor(z*frame[11]);
      fx -= grid[0]*floor(fx/grid[0]); fy -= grid[1]*floor(fy/grid[1]); fz -= grid[2]*floor(fz/grid[2]);
      fx += (mixed) 0.5; fy += (mixed) 0.5; fz += (mixed) 0.5;
    }
    pos[3*i] = x; pos[3*i+1] = y; pos[3*i+2] = z;
    old[3*i] = x; old[3*i+1] = y; old[3*i+2] = z;
    cell_of[i] = (cell_number(fz, grid[2])*grid[1] + cell_number(fy, grid[1]))*grid[0] + cell_number(fx, grid[0]);
  }
  SYNC_THREADS
  const int cells = grid[0]*grid[1]*grid[2];
  const int share = (cells + (int) LOCAL_SIZE - 1)/(int) LOCAL_SIZE, first = share*(int) LOCAL_ID;
  const int end = first + share < cells ? first + share : cells;
  for (int c = first; c < end; c++) cell_start[c] = 0;
  int total = 0;
  for (int i = 0; i < n; i++) {
    const int c = cell_of[i];
    if (c >= first && c < end) { cell_start[c]++; total++; }
  }
  totals[LOCAL_ID] = total;
  SYNC_THREADS
  int at = 0;
  for (int t = 0; t < (int) LOCAL_ID; t++) at += totals[t];
  for (int c = first; c < end; c++) {
    const int inside = cell_start[c];
    cell_start[c] = cell_end[c] = at;
    at += inside;
  }
  for (int i = 0; i < n; i++) {
    const int c = cell_of[i];
    if (c >= first && c < end) members[cell_end[c]++] = i;
  }
}

DEVICE int whole_quotient(int a, int b) { return a >= 0 ? a/b : -((b - 1 - a)/b); }

// Candidates of each node, one thread each; nodes of different regions do not see each other.
KERNEL void find(int n, int slots, GLOBAL int* RESTRICT state, GLOBAL const mixed* RESTRICT pos,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const int* RESTRICT grid, GLOBAL const int* RESTRICT region,
    GLOBAL const int* RESTRICT cell_of, GLOBAL const int* RESTRICT cell_start, GLOBAL const int* RESTRICT cell_end,
    GLOBAL const int* RESTRICT members, GLOBAL int* RESTRICT count, GLOBAL int* RESTRICT other, GLOBAL int* RESTRICT shift) {
  if (state[0] == 0) return;
  if (GLOBAL_ID == 0) state[3]++;
  const int periodic = grid[6];
  for (int i = GLOBAL_ID; i < n; i += GLOBAL_SIZE) {
    const int cell = cell_of[i], cx = cell%grid[0], cy = (cell/grid[0])%grid[1], cz = cell/(grid[0]*grid[1]);
    int found = 0;
    for (int sz = cz - grid[5]; sz <= cz + grid[5]; sz++) for (int sy = cy - grid[4]; sy <= cy + grid[4]; sy++)
    for (int sx = cx - grid[3]; sx <= cx + grid[3]; sx++) {
      int ka = whole_quotient(sx, grid[0]), kb = whole_quotient(sy, grid[1]), kc = whole_quotient(sz, grid[2]);
      const int there = ((sz - kc*grid[2])*grid[1] + sy - kb*grid[1])*grid[0] + sx - ka*grid[0];
      if (!periodic) ka = kb = kc = 0;
      const int same = ka == 0 && kb == 0 && kc == 0;
      for (int q = cell_start[there]; q < cell_end[there]; q++) {
        const int j = members[q];
        if ((j == i && same) || region[j] != region[i]) continue;
        const mixed x = pos[3*j] - pos[3*i] + (periodic ? ka*frame[0] + kb*frame[3] + kc*frame[6] : 0);
        const mixed y = pos[3*j+1] - pos[3*i+1] + (periodic ? kb*frame[4] + kc*frame[7] : 0);
        const mixed z = pos[3*j+2] - pos[3*i+2] + (periodic ? kc*frame[8] : 0);
        if (!(x*x + y*y + z*z < frame[14])) continue;
        if (found < slots) {
          other[i*slots + found] = j;
          shift[i*slots + found] = (ka + 512) + 1024*(kb + 512) + 1048576*(kc + 512);
        }
        found++;
      }
    }
    count[i] = found < slots ? found : slots;
    if (found > slots) ATOMIC_MAX(&state[2], found);
  }
}

// Distances and directions, one thread for each slot; beyond the cutoff the knot is -1. Where cutoffs depend on the direction of
// an edge, knot_in and fraction_in are those of the edge that leads to the node. After a new list, also the slot where the
// same pair is in the list of the other node.
KERNEL void geometry(int n, int slots, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other,
    GLOBAL const int* RESTRICT shift, GLOBAL const mixed* RESTRICT pos, GLOBAL const int* RESTRICT types,
    GLOBAL const mixed* RESTRICT frame, GLOBAL const mixed* RESTRICT reciprocal_cutoffs, GLOBAL const int* RESTRICT state,
    GLOBAL int* RESTRICT knot, GLOBAL number* RESTRICT fraction, GLOBAL int* RESTRICT knot_in,
    GLOBAL number* RESTRICT fraction_in, GLOBAL number* RESTRICT unit, GLOBAL mixed* RESTRICT length,
    GLOBAL int* RESTRICT mirror) {
  for (int s = GLOBAL_ID; s < n*slots; s += GLOBAL_SIZE) {
    const int i = s/slots;
    if (s - i*slots >= count[i]) continue;
    const int j = other[s], code = shift[s];
    const int ka = code%1024 - 512, kb = (code/1024)%1024 - 512, kc = code/1048576 - 512;
    if (state[0]) {
      int place = s;
      const int reverse = (512 - ka) + 1024*(512 - kb) + 1048576*(512 - kc);
      for (int t = j*slots; t < j*slots + count[j]; t++)
        if (other[t] == i && shift[t] == reverse) { place = t; break; }
      mirror[s] = place;
    }
    mixed x = pos[3*j] - pos[3*i], y = pos[3*j+1] - pos[3*i+1], z = pos[3*j+2] - pos[3*i+2];
    if (code != 512 + 1024*512 + 1048576*512) {
      x += ka*frame[0] + kb*frame[3] + kc*frame[6];
      y += kb*frame[4] + kc*frame[7];
      z += kc*frame[8];
    }
    const mixed r = sqrt(x*x + y*y + z*z), over = 1/r;
    unit[3*s] = x*over; unit[3*s+1] = y*over; unit[3*s+2] = z*over;
    length[s] = r;
    mixed t = r*reciprocal_cutoffs[types[i]*TYPES + types[j]]*KNOTS;
    int at = t < KNOTS ? (int) t : -1;
    knot[s] = at;
    fraction[s] = t - at;
#if !SYMMETRIC_CUTOFFS
    t = r*reciprocal_cutoffs[types[j]*TYPES + types[i]]*KNOTS;
    at = t < KNOTS ? (int) t : -1;
    knot_in[s] = at;
    fraction_in[s] = t - at;
#endif
  }
}
