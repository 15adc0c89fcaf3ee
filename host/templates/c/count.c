// Counts the lines, words and bytes of a text. The contract is in wit/, each item explained; bindings/ is the same as C.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/plugin.h"

#define PIECE_BYTES (64 * 1024)

// A client's parameters, such as min_length=3 in the query, are checked against this before a job is accepted.
static const char PARAMETERS[] =
    "{\"type\":\"object\",\"properties\":{\"min_length\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000,"
    "\"description\":\"Shorter words are not counted.\"}},\"additionalProperties\":false}";
static const char OUTPUT[] =
    "{\"type\":\"object\",\"properties\":{\"bytes\":{\"type\":\"integer\"},\"lines\":{\"type\":\"integer\"},"
    "\"words\":{\"type\":\"integer\"},\"longest\":{\"type\":\"integer\","
    "\"description\":\"The length of the longest word, in bytes.\"}}}";

// What has been counted; the text comes piece by piece, so that its size does not matter.
struct counter {
    uint64_t bytes, lines, words, longest;
    uint64_t min_length;
    uint64_t word; // Bytes of the word that the last piece ended in.
};

static void end_word(struct counter *counter) {
    counter->words += counter->word > 0 && counter->word >= counter->min_length;
    if (counter->word > counter->longest) counter->longest = counter->word;
    counter->word = 0;
}

static void count(struct counter *counter, const uint8_t *piece, size_t length) {
    counter->bytes += length;
    for (size_t i = 0; i < length; i++) {
        counter->lines += piece[i] == '\n';
        if (piece[i] == ' ' || (piece[i] >= '\t' && piece[i] <= '\r'))
            end_word(counter);
        else
            counter->word++;
    }
}

// The failure `invalid-input`: the client is told, and the job is not tried again.
static bool invalid_input(plugin_failure_t *failure, const char *message) {
    failure->tag = DROPFORGE_JOB_TYPES_FAILURE_INVALID_INPUT;
    plugin_string_dup(&failure->val.invalid_input, message);
    return false;
}

// The failure `transient`: the host tries again, up to the job's `max_attempts`.
static bool unreadable(plugin_failure_t *failure) {
    failure->tag = DROPFORGE_JOB_TYPES_FAILURE_TRANSIENT;
    memset(&failure->val.transient, 0, sizeof failure->val.transient);
    plugin_string_dup(&failure->val.transient.message, "the host could not read the input");
    return false;
}

static bool read_parameters(const plugin_context_t *context, struct counter *counter) {
    for (size_t i = 0; i < context->parameters.len; i++) {
        const dropforge_job_types_parameter_t *parameter = &context->parameters.ptr[i];
        const char name[] = "min_length";
        if (parameter->name.len != sizeof name - 1 || memcmp(parameter->name.ptr, name, sizeof name - 1) != 0) continue;
        counter->min_length = 0;
        for (size_t digit = 0; digit < parameter->value.len; digit++) {
            uint8_t byte = parameter->value.ptr[digit];
            if (byte < '0' || byte > '9' || digit > 15) return false;
            counter->min_length = counter->min_length * 10 + (byte - '0');
        }
    }
    return true;
}

static void tell_progress(const struct counter *counter, uint64_t size) {
    char text[64];
    snprintf(text, sizeof text, "%llu words", (unsigned long long)counter->words);
    plugin_string_t message = {(uint8_t *)text, strlen(text)};
    dropforge_job_host_progress((double)counter->bytes / (double)size, &message);
}

void exports_plugin_describe(plugin_descriptor_t *about) {
    memset(about, 0, sizeof *about); // No examples, no wishes for limits.
    plugin_string_dup(&about->summary, "Counts the lines, words and bytes of a text.");
    plugin_string_dup(&about->version, "0.1.0");
    about->input.media_types.ptr = malloc(sizeof(plugin_string_t));
    about->input.media_types.len = 1;
    plugin_string_dup(&about->input.media_types.ptr[0], "text/plain");
    about->parameters.is_some = true;
    plugin_string_dup(&about->parameters.val, PARAMETERS);
    plugin_string_dup(&about->output.media_type, "application/json");
    about->output.schema.is_some = true;
    plugin_string_dup(&about->output.schema.val, OUTPUT);
}

bool exports_plugin_run(
    plugin_context_t *context, plugin_own_input_t input, plugin_outcome_t *outcome, plugin_failure_t *failure) {
    struct counter counter = {0};
    if (!read_parameters(context, &counter)) return invalid_input(failure, "min_length: expected a whole number");

    dropforge_job_types_borrow_input_t borrowed = dropforge_job_types_borrow_input(input);
    uint64_t size = dropforge_job_types_method_input_size(borrowed);
    dropforge_job_types_own_input_stream_t stream;
    dropforge_job_types_input_error_t error;
    if (!dropforge_job_types_method_input_stream(borrowed, &stream, &error)) return unreadable(failure);

    plugin_list_u8_t piece;
    wasi_io_streams_stream_error_t end;
    while (wasi_io_streams_method_input_stream_blocking_read(
        wasi_io_streams_borrow_input_stream(stream), PIECE_BYTES, &piece, &end)) {
        count(&counter, piece.ptr, piece.len);
        plugin_list_u8_free(&piece);
        tell_progress(&counter, size);
    }
    if (end.tag != WASI_IO_STREAMS_STREAM_ERROR_CLOSED) return unreadable(failure);
    wasi_io_streams_input_stream_drop_own(stream);
    end_word(&counter);

    char *json = malloc(256);
    int length = snprintf(
        json, 256, "{\"bytes\":%llu,\"lines\":%llu,\"words\":%llu,\"longest\":%llu}", (unsigned long long)counter.bytes,
        (unsigned long long)counter.lines, (unsigned long long)counter.words, (unsigned long long)counter.longest);
    outcome->tag = DROPFORGE_JOB_TYPES_OUTCOME_DONE;
    plugin_string_dup(&outcome->val.done.media_type, "application/json");
    outcome->val.done.body.tag = DROPFORGE_JOB_TYPES_BODY_BYTES;
    outcome->val.done.body.val.bytes = (plugin_list_u8_t){(uint8_t *)json, (size_t)length};
    return true;
}
