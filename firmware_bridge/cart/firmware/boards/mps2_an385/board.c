/* Arm MPS2, image AN385 (Application Note 385; CMSDK peripherals: Arm DDI 0479).
 *
 * The board has no relay, pedals or sensors of its own. Its first user LED stands for the relay's coil, the LED's
 * register for the auxiliary contact, the controller's LEDs for the lamp and its two buttons for pedals; there is no
 * analog input, so temperature and supply read nominal and never fault. A cart's own board has a port of its own. */
#include "board.h"

#include "mps2_an385.h"
#include "ring.h"

struct uart {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t control;
    volatile uint32_t interrupt;
    volatile uint32_t divider;
};
struct watchdog {
    volatile uint32_t load;
    volatile const uint32_t value;
    volatile uint32_t control;
    volatile uint32_t clear;
    volatile const uint32_t raw;
    volatile const uint32_t masked;
    volatile const uint32_t reserved[762];
    volatile uint32_t lock;
};
struct systick {
    volatile uint32_t control;
    volatile uint32_t reload;
    volatile uint32_t value;
};
struct fpga {
    volatile uint32_t leds;
    volatile const uint32_t reserved;
    volatile const uint32_t buttons;
    volatile const uint32_t reserved2;
    volatile const uint32_t clock_1hz;
    volatile const uint32_t clock_100hz;
    volatile const uint32_t cycles;
};

#define UART ((struct uart *)0x40004000u)
#define WATCHDOG ((struct watchdog *)0x40008000u)
#define FPGA ((struct fpga *)0x40028000u)
#define LAMP_LEDS (*(volatile uint32_t *)0x4002F004u)
#define SYSTICK ((struct systick *)0xE000E010u)
#define INTERRUPT_ENABLE (*(volatile uint32_t *)0xE000E100u)
#define INTERRUPT_DISABLE (*(volatile uint32_t *)0xE000E180u)
#define RESET_CONTROL (*(volatile uint32_t *)0xE000ED0Cu)

#define BAUD 115200u
#define UART_RX_FULL 2u
#define UART_RX_OVERRUN 8u
#define UART_TX_ENABLE 1u
#define UART_RX_ENABLE 2u
#define UART_TX_INTERRUPT 4u
#define UART_RX_INTERRUPT 8u
#define UART_TX_PENDING 1u
#define UART_RX_PENDING 2u
#define INTERRUPT_RX 1u
#define INTERRUPT_TX 2u
#define SYSTICK_RUN 7u
#define WATCHDOG_UNLOCK 0x1ACCE551u
#define WATCHDOG_RUN 3u
#define WATCHDOG_MS 200u
#define RESET_REQUEST 0x05FA0004u
#define RELAY_LED 1u
#define NOTE_MAGIC 0xCA27B007u
#define HOLDUP_MS 0u

/* Kept over a reset. */
static struct {
    uint32_t magic;
    uint32_t boots;
    uint32_t cause;
} note __attribute__((section(".noinit")));

static struct ring received;
static struct ring to_send;
static volatile uint32_t now_ms;
static volatile bool sending;
static volatile bool overrun;

void mps2_tick_handler(void)
{
    now_ms++;
}

void mps2_uart_rx_handler(void)
{
    UART->interrupt = UART_RX_PENDING;
    if ((UART->state & UART_RX_OVERRUN) != 0u) {
        UART->state = UART_RX_OVERRUN;
        overrun = true;
    }
    if (((UART->state & UART_RX_FULL) != 0u) && !ring_put(&received, (uint8_t)(UART->data & 0xFFu))) {
        overrun = true;
    }
}

/* One byte into the transmitter, which asks for the next one by an interrupt. */
static void send_next(void)
{
    uint8_t byte = 0u;

    sending = ring_take(&to_send, &byte);
    if (sending) {
        UART->data = byte;
    }
}

void mps2_uart_tx_handler(void)
{
    UART->interrupt = UART_TX_PENDING;
    send_next();
}

bool board_send(const uint8_t *frame, size_t length)
{
    const bool fits = ring_room(&to_send) >= length;

    for (size_t i = 0u; fits && (i < length); i++) {
        (void)ring_put(&to_send, frame[i]);
    }
    INTERRUPT_DISABLE = INTERRUPT_TX;
    if (!sending) {
        send_next();
    }
    INTERRUPT_ENABLE = INTERRUPT_TX;
    return fits;
}

enum message_cause mps2_start(void)
{
    enum message_cause cause = CAUSE_POWER;

    FPGA->leds = 0u;
    if (note.magic == NOTE_MAGIC) {
        cause = (note.cause == (uint32_t)CAUSE_UNKNOWN) ? CAUSE_PIN : (enum message_cause)note.cause;
        note.boots++;
    } else {
        note.magic = NOTE_MAGIC;
        note.boots = 0u;
    }
    note.cause = (uint32_t)CAUSE_UNKNOWN;

    UART->divider = MPS2_CLOCK_HZ / BAUD;
    UART->control = UART_TX_ENABLE | UART_RX_ENABLE | UART_TX_INTERRUPT | UART_RX_INTERRUPT;
    INTERRUPT_ENABLE = INTERRUPT_RX | INTERRUPT_TX;
    SYSTICK->reload = (MPS2_CLOCK_HZ / 1000u) - 1u;
    SYSTICK->value = 0u;
    SYSTICK->control = SYSTICK_RUN;
    WATCHDOG->lock = WATCHDOG_UNLOCK;
    WATCHDOG->load = (MPS2_CLOCK_HZ / 1000u) * WATCHDOG_MS;
    WATCHDOG->control = WATCHDOG_RUN;
    return cause;
}

uint32_t mps2_boot_id(void)
{
    /* The count tells resets apart; the cycles since power came, which jitter, tell losses of power apart. */
    return (note.boots * 0x9E3779B1u) ^ (FPGA->cycles * 0x85EBCA6Bu);
}

uint32_t mps2_now_ms(void)
{
    return now_ms;
}

bool mps2_received(uint8_t *byte)
{
    return ring_take(&received, byte);
}

bool mps2_overrun(void)
{
    const bool happened = overrun;

    if (happened) {
        overrun = false;
    }
    return happened;
}

void mps2_feed_watchdog(void)
{
    WATCHDOG->clear = 1u;
}

void mps2_wait_for_interrupt(void)
{
    __asm volatile("wfi");
}

void mps2_reset(enum message_cause cause)
{
    FPGA->leds = 0u;
    note.cause = (uint32_t)cause;
    __asm volatile("dsb");
    RESET_CONTROL = RESET_REQUEST;
    for (;;) {
        /* until it resets */
    }
}

void board_relay(bool overlay)
{
    if (overlay) {
        FPGA->leds = RELAY_LED;
    } else {
        FPGA->leds = 0u;
    }
}

bool board_relay_feedback(void)
{
    return (FPGA->leds & RELAY_LED) != 0u;
}

void board_lamp(uint8_t color)
{
    LAMP_LEDS = color;
}

uint8_t board_pedals(void)
{
    const uint32_t buttons = FPGA->buttons;

    return (uint8_t)(buttons & 3u);
}

int32_t board_temperature_cc(void)
{
    return 2500;
}

uint32_t board_supply_mv(void)
{
    return 12000u;
}

uint16_t board_holdup_ms(void)
{
    return HOLDUP_MS;
}

uint8_t board_revision(void)
{
    return 1u;
}
