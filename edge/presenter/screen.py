"""A display through SDL 2: X11, Wayland, or the console by KMS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edge.errors import MissingDependencyError
from edge.util.extras import require

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import ImageU8
    from edge.presenter.display_options import DisplayOptions

TITLE = "edge-difom overlay - RESEARCH USE ONLY"


class SdlScreen:
    """A window or a whole display; a context manager.

    Args:
        options: Number of the display and size of the window.

    Raises:
        MissingDependencyError: pygame is not installed, or there is no such display.
    """

    def __init__(self, options: DisplayOptions) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        require("pygame")
        import pygame

        self._pygame: Any = pygame
        try:
            pygame.display.init()
            displays = pygame.display.get_num_displays()
            if options.display >= displays:
                raise pygame.error(f"there are {displays} displays, counted from 0")
            pygame.display.set_caption(TITLE)
            self._surface = pygame.display.set_mode(
                (0, 0) if options.fullscreen else options.size,
                pygame.FULLSCREEN if options.fullscreen else pygame.RESIZABLE,
                display=options.display,
            )
        except pygame.error as error:
            pygame.display.quit()
            raise MissingDependencyError(
                f"display {options.display} cannot be opened",
                expected="an X11 or Wayland session, or a console with KMS",
                got=str(error),
                hint="export DISPLAY=:0, or choose window:display=0",
            ) from error
        pygame.display.set_allow_screensaver(False)
        pygame.mouse.set_visible(not options.fullscreen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pygame.display.quit()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        width, height = self._pygame.display.get_surface().get_size()
        return width, height

    @property
    def closed(self) -> bool:
        """Whether the window was closed or Escape pressed; also processes the window's events."""
        pygame = self._pygame
        return any(
            event.type == pygame.QUIT
            or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE)
            for event in pygame.event.get()
        )

    def show(self, canvas: ImageU8) -> None:
        """Show a canvas, (height, width, 3) RGB."""
        pygame = self._pygame
        height, width = canvas.shape[:2]
        pygame.display.get_surface().blit(
            pygame.image.frombuffer(canvas, (width, height), "RGB"), (0, 0)
        )
        pygame.display.flip()
