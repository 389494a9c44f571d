/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "measure.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "protocol.h"
#include "worker.h"

/* Calls of a batch that are timed one by one, after those that are timed together. With a share it
 * takes thousands until one of them takes a sample. */
#define SINGLES       500
#define SHARE_SINGLES 5000

/* What one side of one row gathers, batch by batch. */
struct samples {
	enum setup setup;
	bool is_possible;
	unsigned count;
	double per_call[MEASURE_MAX_BATCHES];
	struct gathered {
		unsigned count;
		double median[MEASURE_MAX_BATCHES], p99[MEASURE_MAX_BATCHES];
	} singles, sampled;
	uint64_t calls, records;
};

static bool ask(
	struct measure *measure, enum setup setup, struct request request, struct reply *ret_reply)
{
	const struct child *worker = &measure->workers[setup];

	if (!protocol_send(worker->fd, &request, sizeof(request)) ||
		!protocol_receive(worker->fd, ret_reply, sizeof(*ret_reply))) {
		fprintf(stderr, "cuslice-bench: a worker has died\n");
		return false;
	}
	return ret_reply->state != TASK_FAILED;
}

static bool need_worker(struct measure *measure, enum setup setup, struct reply *ret_reply)
{
	struct child *worker = &measure->workers[setup];

	if (setup == SETUP_GROUP &&
		!members_start(&measure->members, measure->environments.of[SETUP_GROUP]))
		return false;
	if (worker->fd == 0 && !child_start(MODE_WORKER, measure->environments.of[setup], worker))
		return false;
	if (!ask(measure, setup, (struct request){.kind = REQUEST_DESCRIBE}, ret_reply))
		return false;
	if (ret_reply->is_preloaded != (setup != SETUP_BARE)) {
		fprintf(stderr, "cuslice-bench: the library was not preloaded\n");
		return false;
	}
	return true;
}

bool measure_describe(struct measure *measure)
{
	struct reply reply;

	if (!need_worker(measure, SETUP_BARE, &reply))
		return false;
	measure->driver_version = reply.driver_version;
	memcpy(measure->device, reply.device, sizeof(measure->device));
	measure->device[sizeof(measure->device) - 1] = '\0';
	return true;
}

static unsigned calls_of(const struct measure *measure, const struct row *row)
{
	unsigned calls = measure->is_real ? row->real_calls : row->calls;

	return calls / measure->divisor > 0 ? calls / measure->divisor : 1;
}

static bool prepare(struct measure *measure, const struct row *row, struct samples *samples)
{
	struct request request = {.kind = REQUEST_PREPARE, .row = (uint32_t)(row - rows)};
	struct reply reply;

	samples->is_possible = true;
	if (row_is_process(row))
		return true;
	if (!need_worker(measure, samples->setup, &reply) ||
		!ask(measure, samples->setup, request, &reply))
		return false;
	samples->is_possible = reply.state == TASK_READY;
	return true;
}

static bool finish(struct measure *measure, const struct row *row, const struct samples *samples)
{
	struct request request = {.kind = REQUEST_FINISH, .row = (uint32_t)(row - rows)};
	struct reply reply;

	return row_is_process(row) || ask(measure, samples->setup, request, &reply);
}

/* The life of one process, or the part of it that the process itself has timed. */
static bool run_process(
	struct measure *measure, const struct row *row, enum setup setup, uint64_t *ret_ns)
{
	const char *mode = row->work == WORK_INIT ? MODE_INIT : MODE_NOTHING;
	struct child child;
	uint64_t reported_ns = 0;

	uint64_t begin_ns = clock_now_ns();
	if (!child_start(mode, measure->environments.of[setup], &child))
		return false;
	bool is_reported = row->work != WORK_INIT ||
			   protocol_receive(child.fd, &reported_ns, sizeof(reported_ns));
	if (!child_end(&child) || !is_reported) {
		fprintf(stderr, "cuslice-bench: %s: a process failed\n", row->name);
		return false;
	}
	*ret_ns = row->work == WORK_INIT ? reported_ns : clock_now_ns() - begin_ns;
	return true;
}

static bool run_processes(struct measure *measure, const struct row *row, struct samples *samples)
{
	unsigned calls = calls_of(measure, row);
	uint64_t total_ns = 0, ns;

	for (unsigned i = 0; i < calls; i++) {
		if (!run_process(measure, row, samples->setup, &ns))
			return false;
		total_ns += ns;
	}
	samples->per_call[samples->count++] = (double)total_ns / calls;
	return true;
}

static void gather(struct gathered *gathered, const struct singles *singles)
{
	if (singles->count == 0)
		return;
	gathered->median[gathered->count] = singles->median_ns;
	gathered->p99[gathered->count] = singles->p99_ns;
	gathered->count++;
}

static unsigned singles_of(const struct measure *measure, const struct row *row)
{
	if (!row_has_singles(row))
		return 0;
	return row->setup == SETUP_SHARE && !measure->is_real ? SHARE_SINGLES : SINGLES;
}

static bool run_batch(struct measure *measure, const struct row *row, struct samples *samples)
{
	struct request request = {
		.kind = REQUEST_BATCH,
		.row = (uint32_t)(row - rows),
		.calls = calls_of(measure, row),
		.singles = singles_of(measure, row),
	};
	struct reply reply;

	if (!samples->is_possible)
		return true;
	if (row_is_process(row))
		return run_processes(measure, row, samples);
	if (!ask(measure, samples->setup, request, &reply))
		return false;
	samples->per_call[samples->count] = (double)reply.elapsed_ns / request.calls;
	samples->count++;
	gather(&samples->singles, &reply.singles);
	gather(&samples->sampled, &reply.samples);
	samples->calls += request.calls;
	samples->records += reply.records;
	return true;
}

static double median_of(double *values, size_t count)
{
	return count > 0 ? stats_of(values, count).median : 0;
}

static struct side summarise(struct samples *samples)
{
	struct side side = {.is_measured = samples->count > 0};

	if (!side.is_measured)
		return side;
	side.per_call = stats_of(samples->per_call, samples->count);
	side.single_median = median_of(samples->singles.median, samples->singles.count);
	side.single_p99 = median_of(samples->singles.p99, samples->singles.count);
	side.sample_median = median_of(samples->sampled.median, samples->sampled.count);
	side.sample_p99 = median_of(samples->sampled.p99, samples->sampled.count);
	if (samples->calls > 0)
		side.samples = (double)samples->records / 2 / (double)samples->calls;
	return side;
}

bool measure_row(struct measure *measure, const struct row *row, struct result *ret_result)
{
	static struct samples bare, sliced; /* large; this program has one thread */

	bare = (struct samples){.setup = SETUP_BARE};
	sliced = (struct samples){.setup = row->setup};
	if (!prepare(measure, row, &bare) || !prepare(measure, row, &sliced))
		return false;
	for (unsigned i = 0; i < measure->batches; i++) {
		/* Who goes first changes, for the second finds a warmer machine. */
		struct samples *first = i % 2 == 0 ? &bare : &sliced;
		struct samples *second = i % 2 == 0 ? &sliced : &bare;
		if (!run_batch(measure, row, first) || !run_batch(measure, row, second))
			return false;
	}
	if (!finish(measure, row, &bare) || !finish(measure, row, &sliced))
		return false;
	*ret_result = (struct result){
		.row = row,
		.bare = summarise(&bare),
		.sliced = summarise(&sliced),
	};
	return true;
}

bool measure_end(struct measure *measure)
{
	bool is_well = members_end(&measure->members);

	if (!is_well)
		fprintf(stderr, "cuslice-bench: a member of the group did not end well\n");
	for (enum setup setup = 0; setup < SETUP_COUNT; setup++) {
		if (measure->workers[setup].fd != 0 && !child_end(&measure->workers[setup])) {
			fprintf(stderr, "cuslice-bench: a worker did not end well\n");
			is_well = false;
		}
	}
	return is_well;
}
