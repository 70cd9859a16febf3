/* The loop: bytes as they come, a tick each millisecond, and the watchdog fed by a tick alone. */
#include "app.h"
#include "mps2_an385.h"

#define BYTES_PER_PASS 256u

int main(void)
{
    static struct app app;
    const enum message_cause cause = mps2_start();
    uint32_t ticked_ms = mps2_now_ms();

    app_start(&app, mps2_boot_id(), cause, ticked_ms);
    for (;;) {
        uint8_t byte = 0u;
        uint32_t now_ms;

        for (uint32_t i = 0u; (i < BYTES_PER_PASS) && mps2_received(&byte); i++) {
            app_receive(&app, byte, mps2_now_ms());
        }
        if (mps2_overrun()) {
            app_lost_bytes(&app);
        }
        now_ms = mps2_now_ms();
        if (now_ms != ticked_ms) {
            ticked_ms = now_ms;
            app_tick(&app, now_ms);
            mps2_feed_watchdog();
        } else {
            mps2_wait_for_interrupt();
        }
    }
}
