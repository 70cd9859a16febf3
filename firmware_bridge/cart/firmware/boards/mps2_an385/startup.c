/* Vectors, and the way from reset to main. A fault and the watchdog both open the relay, leave a note and reset. */
#include <stdint.h>

#include "mps2_an385.h"

/* Of the linker script. */
extern uint32_t _data_load[];
extern uint32_t _data_start[];
extern uint32_t _data_end[];
extern uint32_t _bss_start[];
extern uint32_t _bss_end[];
extern uint32_t _stack_top[];

int main(void);
void reset_handler(void);

void reset_handler(void)
{
    const uint32_t *from = _data_load;
    uint32_t *to = _data_start;

    while (to != _data_end) {
        *to = *from;
        to++;
        from++;
    }
    to = _bss_start;
    while (to != _bss_end) {
        *to = 0u;
        to++;
    }
    (void)main();
    mps2_reset(CAUSE_FAULT);
}

static void fault_handler(void)
{
    mps2_reset(CAUSE_FAULT);
}

/* The watchdog's first timeout is the non-maskable interrupt, its second one would reset by itself. */
static void nmi_handler(void)
{
    mps2_reset(CAUSE_WATCHDOG);
}

struct vectors {
    uint32_t *stack;
    void (*handlers[17])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    _stack_top,
    {
        reset_handler,
        nmi_handler,
        fault_handler, /* hard */
        fault_handler, /* memory */
        fault_handler, /* bus */
        fault_handler, /* usage */
        0,
        0,
        0,
        0,
        fault_handler, /* supervisor call, unused */
        fault_handler, /* debug monitor, unused */
        0,
        fault_handler, /* pended supervisor call, unused */
        mps2_tick_handler,
        mps2_uart_rx_handler,
        mps2_uart_tx_handler,
    },
};
