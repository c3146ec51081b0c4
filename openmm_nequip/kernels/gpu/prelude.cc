// What the kernels need beside OpenMM's common dialect.
//
// | name      | meaning                                                                                       |
// | number    | float or double, as the model computes                                                         |
// | mixed     | OpenMM's: float in single precision, else double; of positions, distances and energies          |
// | WARPS     | warps of 32 threads in a team, which takes an atom through a layer                              |
// | ATOMS     | teams in a group of threads, one atom each; given by who compiles: 1, or more where WARPS is 1 and SYNC_WARP is a
// |           | barrier of a warp                                                                                |
// | LANE, WARP | thread of a warp, warp of the group                                                            |
// | TEAM, MEMBER, TEAM_WARP | team of the group, thread of the team, warp of the team                                |
// | SYNC_WARP | the threads of a warp wait for each other; where warps are not known, those of the group: with ATOMS 1 all warps of a
// |           | group pass the same ones                                                                        |
// | SYNC_TEAM | the threads of a team wait for each other                                                       |
// | ATOMIC_MAX | the larger of a whole number in global memory and another one, there                            |
#if WARPS*ATOMS == 1
#define LANE ((int) LOCAL_ID)
#define WARP 0
#else
#define LANE ((int) LOCAL_ID - 32*((int) LOCAL_ID/32))
#define WARP ((int) LOCAL_ID/32)
#endif
#ifndef SYNC_WARP
#ifdef __CUDA_ARCH__
#define SYNC_WARP __syncwarp();
#else
#define SYNC_WARP SYNC_THREADS
#endif
#endif
#if WARPS == 1
#define TEAM WARP
#define MEMBER LANE
#define TEAM_WARP 0
#define SYNC_TEAM SYNC_WARP
#else
#define TEAM 0
#define MEMBER ((int) LOCAL_ID)
#define TEAM_WARP WARP
#define SYNC_TEAM SYNC_THREADS
#endif
#ifdef __OPENCL_VERSION__
#define ATOMIC_MAX(place, value) atomic_max(place, value)
#else
#define ATOMIC_MAX(place, value) atomicMax(place, value)
#endif
