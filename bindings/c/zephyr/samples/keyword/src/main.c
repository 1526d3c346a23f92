/* Keywords from the board's digital microphone (devicetree label dmic_dev), on the console. */
#include <zephyr/audio/dmic.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "attn.h"
#include "kws.h"

/* One hop of 20 ms. */
#define PIECE 320
K_MEM_SLAB_DEFINE_STATIC(pieces, PIECE * sizeof(int16_t), 8, 4);

static ATTN_ALIGNED uint8_t arena[KWS_ARENA_LEN];
static attn_model model;
static attn_spotter spotter;

static void heard(void *context, const attn_event *event)
{
	ARG_UNUSED(context);
	printk("%u ms: %.*s\n", (unsigned int)(event->time_samples / 16), (int)event->label.len, event->label.bytes);
}

static int fail(const attn_error *error)
{
	char text[160];

	attn_error_text(error, text, sizeof(text));
	printk("error: %s\n", text);
	return 1;
}

int main(void)
{
	const struct device *const dmic = DEVICE_DT_GET(DT_NODELABEL(dmic_dev));
	struct pcm_stream_cfg stream = {
		.pcm_rate = ATTN_SAMPLE_RATE,
		.pcm_width = 16,
		.block_size = PIECE * sizeof(int16_t),
		.mem_slab = &pieces,
	};
	struct dmic_cfg config = {
		.io = {.min_pdm_clk_freq = 1000000, .max_pdm_clk_freq = 3500000, .min_pdm_clk_dc = 40, .max_pdm_clk_dc = 60},
		.streams = &stream,
		.channel = {.req_num_streams = 1, .req_num_chan = 1, .req_chan_map_lo = dmic_build_channel_map(0, 0, PDM_CHAN_LEFT)},
	};
	attn_error error;

	if (attn_model_parse(&model, kws, KWS_LEN, NULL, &error) != ATTN_CODE_OK ||
	    attn_spotter_init(&spotter, &model, arena, sizeof(arena), &error) != ATTN_CODE_OK) {
		return fail(&error);
	}
	if (!device_is_ready(dmic) || dmic_configure(dmic, &config) < 0 || dmic_trigger(dmic, DMIC_TRIGGER_START) < 0) {
		printk("error: the microphone does not start\n");
		return 1;
	}
	for (;;) {
		void *samples;
		size_t bytes;

		if (dmic_read(dmic, 0, &samples, &bytes, 1000) < 0) {
			/* A piece was lost: what is heard next does not go with what was heard before. */
			attn_spotter_gap(&spotter, PIECE, NULL);
			continue;
		}
		if (attn_spotter_push(&spotter, samples, bytes / 2, heard, NULL, &error) != ATTN_CODE_OK) {
			return fail(&error);
		}
		k_mem_slab_free(&pieces, samples);
	}
}
