/* What a board must provide. Nothing here waits. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Send a whole frame, by interrupt; false where it does not fit into the buffer as a whole. */
bool board_send(const uint8_t *frame, size_t length);

/* Power the relay's coil (overlay) or not (pass-through). */
void board_relay(bool overlay);

/* What the relay's auxiliary contact says: true is overlay. */
bool board_relay_feedback(void);

/* A color of message.h. */
void board_lamp(uint8_t color);

/* Pedals as they are now, bit 0 is pedal 0, set while pressed; not debounced. */
uint8_t board_pedals(void);

/* Hundredths of a degree Celsius; INT32_MAX where the sensor does not answer. */
int32_t board_temperature_cc(void);

uint32_t board_supply_mv(void);

/* How long the supply holds once it fails. */
uint16_t board_holdup_ms(void);

uint8_t board_revision(void);

#endif
