/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 *
 * What a simulated driver (libcuda.so.1, libnvidia-ml.so.1) and the server of its simulated machine
 * say to each other.
 *
 * The server knows processes, devices, contexts, bytes and operations; it owns time and accounts.
 * The client knows everything that CUDA knows: streams, events, graphs, modules, and the bytes
 * themselves, which live in its own memory. Streams, events, default-stream ordering and graphs are
 * lowered by the client to operations that depend on earlier operations, so the server has one
 * small scheduler and no idea of any of them.
 *
 * Transport: one SOCK_SEQPACKET connection per client process to $SIMGPU_DIR/socket. Every message
 * is one packet: struct wire_request, answered (where the table says so) by one struct wire_reply.
 * Requests marked "no reply" are answered only through the completion ring. A forked child must
 * open a connection of its own: the server knows a process by its connection (SO_PEERCRED gives the
 * pid), and gives back all it held when the connection ends, after the `reclaim_us` setting.
 */
#ifndef SIMGPU_WIRE_H
#define SIMGPU_WIRE_H

#include <stdint.h>

#define WIRE_VERSION      3u
#define WIRE_MAX_DEVICES  16
#define WIRE_MAX_DEPS     48
#define WIRE_MAX_LISTED   128
#define WIRE_RING_ENTRIES 65536u /* a power of two */
#define WIRE_MAX_FAILURES 32
#define WIRE_MAX_KERNELS  64
#define WIRE_NAME_LEN     64
#define WIRE_NOTE_LEN     64
#define WIRE_MAX_SMS      4096
#define WIRE_SM_WORDS     (WIRE_MAX_SMS / 64)

enum wire_kind {
	WIRE_HELLO = 1,      /* reply; carries two fds: the ring (memfd) and the machine (memfd) */
	WIRE_MEM_RESERVE,    /* reply; bytes on device, WIRE_OK or WIRE_NO_MEMORY */
	WIRE_MEM_RELEASE,    /* no reply; the same bytes back */
	WIRE_MEM_INFO,       /* reply; free and total bytes of device, bytes held by this process */
	WIRE_CONTEXT_CREATE, /* reply; a context on device: charges context_bytes; gives its id */
	WIRE_CONTEXT_DESTROY,  /* reply; drops its queued operations, gives context_bytes back */
	WIRE_PARTITION_CREATE, /* reply; a context that uses some SMs of device and no bytes; its id
				*/
	WIRE_SUBMIT,           /* no reply; one operation, see struct wire_op */
	WIRE_ACCOUNT,     /* reply; what the process `pid` holds and used on device (0: this one) */
	WIRE_UNSUPPORTED, /* no reply; counts a call that simgpu does not have, by name */
	WIRE_NVML_PROCESSES, /* reply; up to WIRE_MAX_LISTED pids and bytes with a context on device
			      */
	WIRE_ARENA,          /* reply with an fd: a file for the linear memory of this process */
	WIRE_BLOCK_CREATE, /* reply; a block of bytes on device with one reference; gives its id */
	WIRE_BLOCK_SHARE,  /* reply; the same of bytes that are held already, in the arena */
	WIRE_BLOCK_REFER,  /* reply; one more reference, by id or by file; tells all of the block */
	WIRE_BLOCK_FILE,   /* reply with an fd, to map the bytes of a block */
	WIRE_BLOCK_EXPORT, /* reply with an fd that keeps the block for as long as it is open */
	WIRE_BLOCK_DROP,   /* no reply; one reference less */
};

enum wire_status { WIRE_OK = 0, WIRE_NO_MEMORY = 2, WIRE_BAD_REQUEST = 22 };

/* What operations may say of themselves. */
enum wire_op_flag {
	WIRE_OP_TELL_SMS = 1,  /* kernels: the ring is to tell on which SMs its blocks ran */
	WIRE_OP_EXTRA_SMS = 2, /* kernels: of a partition, it may use the last two SMs as well */
};

enum wire_op_kind {
	WIRE_OP_MARKER, /* takes no time: joins, events, host functions, effects without a cost */
	WIRE_OP_KERNEL, /* blocks on SMs of the context's device, counts as GPU time */
	WIRE_OP_COPY,   /* duration_ns on a copy engine, beside kernels; no GPU time */
};

/* One operation. It becomes ready when every dependency has ended; a dependency that the server no
 * longer knows has ended. Ready operations start in the order of their arrival, as room allows;
 * higher priority first. */
struct wire_op {
	uint64_t seq;           /* of this process, strictly increasing, from 1 */
	uint32_t kind;          /* enum wire_op_kind */
	uint32_t context;       /* id from WIRE_CONTEXT_CREATE */
	int32_t priority;       /* as CUDA: lower number is served first */
	uint32_t dep_count;     /* at most WIRE_MAX_DEPS; more are joined by markers first */
	uint64_t blocks;        /* kernels: grid size in blocks; 0 ends at once */
	uint32_t blocks_per_sm; /* kernels: how many of its blocks one SM holds at a time, >= 1 */
	uint32_t flags;         /* enum wire_op_flag */
	uint32_t
		bandwidth_ppm; /* kernels: that it asks for where it fills all SMs, in parts of a
				  million of the device's; more than a million: it cannot have it */
	uint32_t reserved;
	uint64_t duration_ns; /* kernels: of one block; copies: of the whole copy */
	uint64_t deps[WIRE_MAX_DEPS];
};

/* A block is memory that more than one process may hold. It ends, and its bytes come back to the
 * process that they were taken from, when no process refers to it and no exported fd is open. A
 * process that dies drops its references; the bytes of a block that others keep stay its own. */
struct wire_block {
	uint64_t id;     /* 0: REFER by file */
	uint64_t offset; /* SHARE: of its first byte in the arena */
	uint64_t file_device, file_inode;
	uint32_t is_free;            /* CREATE: host memory, costs no byte of the device */
	uint8_t note[WIRE_NOTE_LEN]; /* CREATE: kept for whoever refers to it */
};

/* The SMs that the kernels of a context may use, a bit each: SM n is bit n % 64 of word n / 64. */
struct wire_partition {
	uint32_t sm_limit; /* how many of them at a time, whichever; 0: all */
	uint32_t reserved;
	uint64_t sms[WIRE_SM_WORDS]; /* CONTEXT_CREATE: all, whatever it says */
};

struct wire_request {
	uint32_t kind; /* enum wire_kind */
	int32_t device;
	uint64_t bytes;
	int64_t pid; /* HELLO: WIRE_VERSION in `bytes`; ACCOUNT: whose */
	union {
		uint32_t context;
		char name[WIRE_NAME_LEN];
		struct wire_block block;
		struct wire_partition partition; /* CONTEXT_CREATE, PARTITION_CREATE */
		struct wire_op
			op; /* SUBMIT: only offsetof(op.deps) + 8 * dep_count bytes are sent */
	};
};

struct wire_reply {
	uint32_t status; /* enum wire_status */
	uint32_t context;
	uint64_t free_bytes, total_bytes, held_bytes;
	uint64_t peak_bytes;     /* ACCOUNT: most that was held at a time */
	uint64_t gpu_time_ns;    /* ACCOUNT: time in which at least one block of its kernels ran */
	uint64_t kernels;        /* ACCOUNT: kernels that ended */
	struct wire_block block; /* BLOCK_*: what it is */
	uint64_t block_bytes;
	int32_t block_device;
	uint32_t process_count;
	struct {
		int32_t pid;
		uint64_t bytes;
	} processes[WIRE_MAX_LISTED];
};

/* The completion ring: written by the server, read by the client, in the order in which operations
 * ended. Times are the simulated ones, in CLOCK_MONOTONIC nanoseconds: exact even where server or
 * client wake up late. The client applies the effects of entry `i` (bytes moved, host twin run,
 * host function called), then stores i + 1 to `retired` and wakes futex waiters on it. The server
 * stops publishing when the ring is full and goes on when there is room. */
struct wire_ring_entry {
	uint64_t seq;
	uint64_t start_ns, end_ns;
};

struct wire_ring {
	_Atomic uint32_t published; /* entries written so far, wraps; futex word of the client */
	_Atomic uint32_t retired; /* entries applied so far, wraps; futex word inside the client */
	uint32_t pad[14];
	struct wire_ring_entry entries[WIRE_RING_ENTRIES];
	/* The SMs of entry i, where its operation has WIRE_OP_TELL_SMS, from sms[i * sm_words] on:
	 * see struct wire_machine. Pages that nobody touches are not there. */
	uint64_t sms[(uint64_t)WIRE_RING_ENTRIES * WIRE_SM_WORDS];
};

/* The machine as set up: one page group shared with every client. Settings are read-only for
 * clients but for `failures[].remaining`, which they count down. Accounts are not here. */
struct wire_device {
	char name[WIRE_NAME_LEN];
	uint8_t uuid[16];
	uint64_t memory_bytes;
	uint64_t memory_limit_bytes; /* that the driver itself keeps; 0: none */
	uint64_t granularity_bytes;  /* linear allocations are rounded up to this */
	uint64_t context_bytes;      /* taken by every context */
	uint64_t module_bytes;       /* taken by the code of every loaded module */
	uint64_t pool_chunk_bytes;   /* pools take memory in multiples of this */
	uint32_t sm_count;
	uint32_t cc_major, cc_minor;
	uint32_t pci_bus;
};

/* A kernel's time per block by its name; `*` is the default for names not listed. */
struct wire_kernel_time {
	char name[WIRE_NAME_LEN];
	uint64_t block_ns;      /* WIRE_KERNEL_AS_ALL: as those of `*` */
	uint32_t bandwidth_ppm; /* see struct wire_op */
	uint32_t reserved;
};
#define WIRE_KERNEL_AS_ALL UINT64_MAX

enum wire_leak_number {
#define LEAK(bit, name) WIRE_LEAK_NUMBER_##bit,
#include "leaks.def"
#undef LEAK
};

/* Bits. */
enum wire_leak {
#define LEAK(bit, name) WIRE_LEAK_##bit = 1 << WIRE_LEAK_NUMBER_##bit,
#include "leaks.def"
#undef LEAK
};

/* An injected failure: the next `remaining` calls of the exported symbol return `result`. */
struct wire_failure {
	char symbol[WIRE_NAME_LEN];
	int32_t result;
	_Atomic int32_t remaining;
};

struct wire_machine {
	uint32_t version; /* WIRE_VERSION */
	uint32_t device_count;
	uint32_t driver_version;     /* as cuDriverGetVersion: 13000 */
	uint32_t copy_mib_per_ms;    /* bandwidth of copies; 0: copies take no time */
	uint32_t fill_mib_per_ms;    /* of fills by an SM; 0: they are as copies */
	uint32_t d2d_mib_per_ms;     /* of copies by an SM, within a device; 0: as all copies */
	_Atomic uint32_t generation; /* odd while the server changes a setting */
	_Atomic uint32_t failure_count;
	uint32_t kernel_count;
	_Atomic uint32_t memory_answer_us; /* the driver waits before it asks for memory */
	uint32_t sm_words;                 /* 64-bit words for a bit for each SM of any device */
	uint32_t mps;                      /* 1: processes have the SMs at the same time */
	uint32_t mps_percentage;           /* that the daemon of MPS gives every process */
	_Atomic uint32_t leaks;            /* enum wire_leak */
	uint32_t strict_capture; /* 1: questions and refused launches spoil captures too */
	struct wire_device devices[WIRE_MAX_DEVICES];
	struct wire_kernel_time kernels[WIRE_MAX_KERNELS];
	struct wire_failure failures[WIRE_MAX_FAILURES];
};

#endif
