/* What startup, board and main of this board share. */
#ifndef MPS2_AN385_H
#define MPS2_AN385_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

#define MPS2_CLOCK_HZ 25000000u

void mps2_tick_handler(void);
void mps2_uart_rx_handler(void);
void mps2_uart_tx_handler(void);

/* Clocks, UART and watchdog; returns why the controller started. */
enum message_cause mps2_start(void);

/* Another one at each start. */
uint32_t mps2_boot_id(void);

uint32_t mps2_now_ms(void);

/* A byte of the host; false where there is none. */
bool mps2_received(uint8_t *byte);

/* Bytes were lost since the last call, for want of room. */
bool mps2_overrun(void);

void mps2_feed_watchdog(void);

void mps2_wait_for_interrupt(void);

/* Open the relay, note the cause and reset. */
__attribute__((noreturn)) void mps2_reset(enum message_cause cause);

#endif
