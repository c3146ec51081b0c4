// What the kernels need beside OpenMM's common dialect.
//
// | name      | meaning                                                                                       |
// | number    | float or double, as the model computes                                                         |
// | mixed     | OpenMM's: float in single precision, else double; of positions, distances and energies          |
// | WARPS     | warps of 32 threads in a group that shares an atom                                              |
// | LANE, WARP | thread of a warp, warp of the group                                                            |
// | SYNC_WARP | all threads of a warp wait for each other; where warps are unknown, all of the group: every warp of a group passes the
// |           | same ones                                                                                       |
#if WARPS == 1
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
