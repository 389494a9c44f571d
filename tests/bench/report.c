/* SPDX-License-Identifier: Apache-2.0
 * Copyright the cuslice authors
 */
#include "report.h"

#include <string.h>
#include <unistd.h>

/* The model as the kernel names it; empty where it does not (aarch64). */
static void read_cpu_model(char *ret_model, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	ret_model[0] = '\0';
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		const char *value = strstr(line, ": ");
		if (strncmp(line, "model name", 10) == 0 && value != NULL) {
			snprintf(ret_model, size, "%s", value + 2);
			ret_model[strcspn(ret_model, "\n")] = '\0';
			break;
		}
	}
	if (file != NULL)
		fclose(file);
}

static const char *driver_kind(const struct report *report)
{
	return report->measure->is_real ? "real" : "simgpu, null mode";
}

static void print_head(const struct report *report, FILE *out)
{
	const struct measure *measure = report->measure;
	char model[128];

	read_cpu_model(model, sizeof(model));
	fprintf(out, "driver   %s: CUDA %d.%d, %s\n", driver_kind(report),
		measure->driver_version / 1000, measure->driver_version % 1000 / 10,
		measure->device);
	fprintf(out, "machine  %s, %ld cores; a reading of the clock takes %.0f ns\n",
		model[0] != '\0' ? model : "processor unknown", sysconf(_SC_NPROCESSORS_ONLN),
		report->clock_ns);
	fprintf(out,
		"method   %u batches of each row and side, in turn%s; ns a call; p99 is over\n"
		"         batches; sliced: a quota of 50%%, and where a share is set, 50%%\n\n",
		measure->batches, measure->is_real ? "" : ", on one core");
}

/* Processes take hundreds of thousands of ns, calls a few. */
static int decimals_of(const struct row *row)
{
	return row_is_process(row) ? 0 : 1;
}

static void print_side(const struct row *row, const struct side *side, FILE *out)
{
	int decimals = decimals_of(row);

	if (!side->is_measured) {
		fprintf(out, " | %9s %9s %9s", "-", "-", "-");
		return;
	}
	fprintf(out, " | %9.*f %9.*f %9.*f", decimals, side->per_call.median, decimals,
		side->per_call.min, decimals, side->per_call.p99);
}

static void print_row(const struct result *result, FILE *out)
{
	fprintf(out, "%-40s", result->row->title);
	print_side(result->row, &result->bare, out);
	print_side(result->row, &result->sliced, out);
	if (result->bare.is_measured && result->sliced.is_measured) {
		double bare = result->bare.per_call.median;
		double sliced = result->sliced.per_call.median;
		fprintf(out, " | %+9.*f %6.2f", decimals_of(result->row), sliced - bare,
			sliced / bare);
	}
	fputc('\n', out);
}

static bool has_singles(const struct result *result)
{
	return row_has_singles(result->row) && result->bare.is_measured &&
	       result->sliced.is_measured;
}

/* 0: there was none. */
static void print_time(double ns, FILE *out)
{
	if (ns > 0)
		fprintf(out, " %9.0f", ns);
	else
		fprintf(out, " %9s", "-");
}

static void print_single(const struct result *result, FILE *out)
{
	const struct side *bare = &result->bare, *sliced = &result->sliced;

	fprintf(out, "%-40s |", result->row->title);
	print_time(bare->single_median, out);
	print_time(bare->single_p99, out);
	fputs(" |", out);
	print_time(sliced->single_median, out);
	print_time(sliced->single_p99, out);
	if (sliced->single_p99 > 0)
		fprintf(out, " | %9.0f |", sliced->single_p99 - bare->single_p99);
	else
		fprintf(out, " | %9s |", "-");
	print_time(sliced->sample_median, out);
	print_time(sliced->sample_p99, out);
	fprintf(out, " %8.3f%%\n", 100 * sliced->samples);
}

static void print_singles(const struct report *report, FILE *out)
{
	bool has_any = false;

	for (size_t i = 0; i < report->count; i++)
		has_any = has_any || has_singles(&report->results[i]);
	if (!has_any)
		return;
	fprintf(out, "\n%-40s | %9s %9s | %9s %9s | %9s | %9s %9s %9s\n",
		"single calls, a reading of the clock in", "bare", "p99", "sliced", "p99",
		"p99 more", "sampled", "p99", "of calls");
	for (size_t i = 0; i < report->count; i++) {
		if (has_singles(&report->results[i]))
			print_single(&report->results[i], out);
	}
}

void report_print_table(const struct report *report, FILE *out)
{
	print_head(report, out);
	fprintf(out, "%-40s | %9s %9s %9s | %9s %9s %9s | %9s %6s\n", "", "bare", "min", "p99",
		"sliced", "min", "p99", "more", "ratio");
	for (size_t i = 0; i < report->count; i++)
		print_row(&report->results[i], out);
	print_singles(report, out);
}

/* Names of devices and processors: quotes and control characters are left out. */
static void print_text(const char *name, const char *text, FILE *out)
{
	fprintf(out, "  \"%s\": \"", name);
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\')
			fputc(*text, out);
	}
	fputs("\",\n", out);
}

static void print_json_side(
	const struct row *row, const char *name, const struct side *side, FILE *out)
{
	if (!side->is_measured) {
		fprintf(out, ", \"%s\": null", name);
		return;
	}
	fprintf(out,
		",\n     \"%s\": {\"median\": %.2f, \"min\": %.2f, \"p99\": %.2f, \"max\": %.2f",
		name, side->per_call.median, side->per_call.min, side->per_call.p99,
		side->per_call.max);
	if (side->single_p99 > 0)
		fprintf(out, ", \"single_median\": %.0f, \"single_p99\": %.0f", side->single_median,
			side->single_p99);
	if (side->sample_p99 > 0)
		fprintf(out, ", \"sample_median\": %.0f, \"sample_p99\": %.0f", side->sample_median,
			side->sample_p99);
	if (row_has_singles(row))
		fprintf(out, ", \"samples_per_call\": %.5f", side->samples);
	fputc('}', out);
}

void report_print_json(const struct report *report, FILE *out)
{
	const struct measure *measure = report->measure;
	char model[128];

	read_cpu_model(model, sizeof(model));
	fputs("{\n", out);
	print_text("driver", driver_kind(report), out);
	print_text("device", measure->device, out);
	print_text("processor", model, out);
	fprintf(out,
		"  \"driver_version\": %d,\n  \"cores\": %ld,\n  \"batches\": %u,\n"
		"  \"clock_ns\": %.0f,\n  \"unit\": \"ns\",\n  \"rows\": [\n",
		measure->driver_version, sysconf(_SC_NPROCESSORS_ONLN), measure->batches,
		report->clock_ns);
	for (size_t i = 0; i < report->count; i++) {
		const struct result *result = &report->results[i];
		fprintf(out, "    {\"name\": \"%s\"", result->row->name);
		print_json_side(result->row, "bare", &result->bare, out);
		print_json_side(result->row, "sliced", &result->sliced, out);
		fprintf(out, "}%s\n", i + 1 < report->count ? "," : "");
	}
	fputs("  ]\n}\n", out);
}
