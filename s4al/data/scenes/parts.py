"""The things in a scene, each painted with its label and its distance.

Colours overlap between classes on purpose. All lengths are in metres.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from s4al.data.scenes.canvas import Float, Scene, Spot, plane

_Draw = Callable[[Spot], None]

SKY, BUILDING, ROAD, PAVEMENT, VEGETATION, FENCE, CAR, PERSON, BICYCLE, POLE, SIGN = range(11)

_SKIES = ((0.45, 0.62, 0.85), (0.72, 0.80, 0.90), (0.83, 0.84, 0.86), (0.62, 0.64, 0.68), (0.88, 0.74, 0.62))
_WALLS = (
    (0.55, 0.36, 0.29),
    (0.66, 0.60, 0.50),
    (0.47, 0.46, 0.45),
    (0.80, 0.79, 0.76),
    (0.38, 0.34, 0.33),
    (0.60, 0.50, 0.35),
    (0.50, 0.55, 0.60),
)
_LEAVES = ((0.22, 0.32, 0.13), (0.31, 0.40, 0.16), (0.15, 0.23, 0.12), (0.42, 0.38, 0.16))
_GRASS = ((0.35, 0.44, 0.20), (0.45, 0.45, 0.26), (0.28, 0.36, 0.17))
_ASPHALT = ((0.36, 0.36, 0.37), (0.44, 0.43, 0.42), (0.30, 0.31, 0.33), (0.50, 0.48, 0.45))
_PAVING = ((0.52, 0.50, 0.48), (0.45, 0.44, 0.44), (0.60, 0.56, 0.50), (0.50, 0.42, 0.38))
_CARS = (
    (0.10, 0.10, 0.12),
    (0.42, 0.43, 0.45),
    (0.70, 0.71, 0.73),
    (0.88, 0.88, 0.88),
    (0.50, 0.10, 0.10),
    (0.13, 0.20, 0.42),
    (0.20, 0.30, 0.22),
)
_CLOTHES = (
    (0.12, 0.12, 0.15),
    (0.25, 0.28, 0.42),
    (0.55, 0.20, 0.18),
    (0.60, 0.58, 0.52),
    (0.30, 0.32, 0.22),
    (0.75, 0.70, 0.25),
)
_SKIN = ((0.80, 0.62, 0.50), (0.55, 0.40, 0.30), (0.35, 0.24, 0.18))
_METAL = ((0.38, 0.39, 0.40), (0.22, 0.23, 0.24), (0.56, 0.56, 0.54), (0.30, 0.34, 0.28))
_SIGNS = ((0.70, 0.12, 0.12), (0.12, 0.25, 0.60), (0.85, 0.85, 0.84), (0.80, 0.65, 0.12), (0.15, 0.38, 0.22))
_FENCES = ((0.34, 0.26, 0.18), (0.30, 0.31, 0.32), (0.62, 0.60, 0.56), (0.20, 0.26, 0.18))
_GLASS = ((0.10, 0.11, 0.13), (0.30, 0.34, 0.38), (0.16, 0.18, 0.22), (0.55, 0.60, 0.66), (0.75, 0.72, 0.60))
_BARK = ((0.24, 0.19, 0.15), (0.33, 0.30, 0.27))
_RUBBER = (0.06, 0.06, 0.07)
_CAR_LIGHTS = ((0.65, 0.10, 0.08), (0.90, 0.88, 0.80))
_LAMPS = ((0.9, 0.2, 0.1), (0.9, 0.7, 0.1), (0.2, 0.8, 0.4))


def paint_sky(scene: Scene) -> None:
    canvas, street, dice = scene
    height, width = canvas.height, canvas.width
    low, high = dice.pick(_SKIES), dice.pick(_SKIES)
    t = np.minimum(np.arange(height, dtype=np.float32) / np.float32(street.horizon), 1)[:, None, None]
    clouds = dice.noise(height, width, width / 4) * np.float32(0.7)
    clouds += dice.noise(height, width, width / 12) * np.float32(0.3)
    cover = np.float32(dice.uniform(0.0, 0.5)) * np.maximum(clouds - np.float32(0.4), 0)[..., None]
    canvas.image_HWC[:] = (high + (low - high) * t) * (1 - cover) + cover
    canvas.label_HW[:] = SKY
    _paint_skyline(scene)


def _paint_skyline(scene: Scene) -> None:
    """What closes the street in the distance: trees or far houses."""
    canvas, street, dice = scene
    depth, step, trees = 90.0, dice.integer(4, 12), dice.chance(0.5)
    area, y, _ = canvas.window(0, 0, canvas.width, street.horizon + 1)
    outline = dice.noise(1, canvas.width, canvas.width / 32 if trees else canvas.width / 10)
    if not trees:  # flat roofs
        outline = outline[:, np.arange(canvas.width) // step * step]
    top = np.float32(street.y(0, depth)) - (3 + 12 * outline) * np.float32(street.focal / depth)
    canvas.paint(area, y >= top, dice.pick(_LEAVES if trees else _WALLS), VEGETATION if trees else BUILDING, depth)


def paint_ground(scene: Scene) -> None:
    """Grass, pavement, road, and the shadow of the houses on them."""
    canvas, street, dice = scene
    area, y, x = canvas.window(0, street.horizon + 0.5, canvas.width, canvas.height)
    depth = np.float32(street.focal * street.camera) / np.maximum(y - np.float32(street.horizon), np.float32(0.3))
    lateral = (x - np.float32(street.centre)) * depth / np.float32(street.focal)
    canvas.paint(area, np.ones(lateral.shape, bool), dice.pick(_GRASS), VEGETATION, depth)
    walk = (lateral > street.wall(-1)) & (lateral < street.wall(1))
    joints = (lateral % np.float32(0.9) < 0.015 * depth) | (depth % np.float32(0.9) < 0.1)
    canvas.paint(area, walk, dice.pick(_PAVING) * (1 - np.float32(0.12) * joints[..., None]), PAVEMENT, depth)
    road = (lateral > street.road_left) & (lateral < street.road_right)
    canvas.paint(area, road, _road_colour(scene, lateral, depth), ROAD, depth)
    kerb = walk & ~road & (lateral > street.road_left - 0.2) & (lateral < street.road_right + 0.2)
    canvas.image_HWC[area][kerb] *= np.float32(dice.uniform(0.75, 1.3))
    if street.sun:
        reach = dice.uniform(0.5, 7.0)
        edge = lateral + dice.noise(len(y), canvas.width, canvas.width / 8) - np.float32(0.5)
        shade = edge < street.wall(-1) + reach if street.sun < 0 else edge > street.wall(1) - reach
        canvas.image_HWC[area][shade] *= np.float32(dice.uniform(0.45, 0.7))


def _road_colour(scene: Scene, lateral: Float, depth: Float) -> Float:
    """Asphalt with stains, lane marks and now and then a crossing."""
    _, street, dice = scene
    height, width = lateral.shape
    stains = 1 + np.float32(0.25) * (dice.noise(height, width, max(2.0, width / 16)) - np.float32(0.5))
    colour = dice.pick(_ASPHALT) * stains[..., None]
    middle = np.float32((street.road_left + street.road_right) / 2)
    marks = (np.abs(lateral - middle) < 0.09) & (depth % np.float32(6.0) < 3.0)
    if dice.chance(0.4):  # lines along the kerbs
        marks |= np.abs(np.abs(lateral - middle) - (street.road_right - middle - np.float32(0.4))) < 0.07
    if dice.chance(0.25):  # a crossing
        near = dice.uniform(6, 18)
        marks |= (depth > near) & (depth < near + 3) & (lateral % np.float32(1.0) < 0.5)
    colour[marks] = np.float32(dice.uniform(0.6, 0.85))
    return colour


def paint_side(scene: Scene, side: int) -> None:
    """The houses along one side, far to near, then a fence before them; a park has few houses."""
    _, street, dice = scene
    edges = [dice.uniform(1.0, 6.0)]
    while edges[-1] < 70:
        edges.append(edges[-1] + dice.uniform(5.0, 18.0))
    storeys = dice.integer(2, 5)
    for near, far in reversed(list(itertools.pairwise(edges))):
        if dice.chance(0.12 if street.park(side) else 0.88):
            top = 3.0 * max(1, storeys + dice.integer(-1, 1)) + dice.uniform(0.5, 2.0)
            _paint_house(scene, side, near, far, top)
    if dice.chance(0.9 if street.park(side) else 0.5):
        near = dice.uniform(2, 10)
        _paint_fence(scene, side, near, near + dice.uniform(10, 40))


def _paint_house(scene: Scene, side: int, near: float, far: float, top: float) -> None:
    """The gable that faces the camera, then the front along the street with its windows."""
    canvas, street, dice = scene
    wall, lateral = dice.pick(_WALLS), street.wall(side)
    lit = dice.uniform(0.55, 0.8) if street.sun == side else dice.uniform(0.85, 1.1)
    left, right = sorted((street.x(lateral, near), street.x(lateral + side * 12.0, near)))
    gable = wall * np.float32(dice.uniform(0.6, 1.0))
    canvas.box(left, street.y(top, near), right, street.y(0, near), gable, BUILDING, near)
    front = plane(scene, lateral, near, far, top)
    if front is None:
        return
    pitch, storey = np.float32(dice.uniform(1.6, 3.2)), front.above % np.float32(3.0)
    windows = (
        (front.along % pitch < pitch * dice.uniform(0.35, 0.65)) & (storey > 0.9) & (storey < dice.uniform(2.0, 2.6))
    )
    plinth = front.above < (2.8 if dice.chance(0.35) else 0.5)  # a shop, or only the footing
    colour = np.where(plinth[..., None], dice.pick(_WALLS) * np.float32(0.8), wall) * np.float32(lit)
    colour = np.where(windows[..., None], dice.pick(_GLASS), colour)
    colour *= 1 - np.float32(0.3) * (front.above > top - 0.35)[..., None]  # the cornice
    canvas.paint(front.area, front.inside, colour, BUILDING, front.depth)


def _paint_fence(scene: Scene, side: int, near: float, far: float) -> None:
    """Boards, or rails with gaps; the gaps are labelled fence too, as annotators do."""
    canvas, street, dice = scene
    top, colour, railed = dice.uniform(0.9, 1.8), dice.pick(_FENCES), dice.chance(0.7)
    fence = plane(scene, street.wall(side) - side * 0.25, near, far, top)
    if fence is None:
        return
    bars = (fence.along % np.float32(0.5) < 0.28) | (fence.above > top - 0.15) if railed else fence.inside
    behind = canvas.image_HWC[fence.area] * np.float32(0.9)
    canvas.paint(fence.area, fence.inside, np.where(bars[..., None], colour, behind), FENCE, fence.depth)


def paint_things(scene: Scene) -> None:
    """Roll what stands and moves on the street, and paint it far to near."""
    _, street, dice = scene
    things: list[tuple[float, float, _Draw]] = []

    def roll(draw: _Draw, count: int, left: float, right: float, nearest: float, farthest: float) -> None:
        for _ in range(count):
            t = dice.uniform(0, 1)
            things.append((nearest + (farthest - nearest) * t * t, dice.uniform(left, right), draw))

    for side in (-1, 1):
        wall, kerb, park = street.wall(side), street.road(side), street.park(side)
        roll(_tree, dice.integer(3, 8) if park else 0, wall + side * 1.0, wall + side * 9.0, 8, 55)
        roll(_bush, dice.integer(1, 4) if park else dice.integer(0, 1), wall - side * 0.4, wall + side * 2.0, 5, 40)
        roll(_tree, dice.integer(0, 3), kerb + side * 0.6, kerb + side * 1.0, 6, 50)
        roll(_pole, dice.integer(1, 4), kerb + side * 0.3, kerb + side * 0.8, 4, 45)
        roll(_sign_post, dice.integer(1, 2), kerb + side * 0.3, kerb + side * 0.8, 4, 20)
        roll(_car, dice.integer(0, 4), kerb - side * 1.0, kerb - side * 1.2, 6, 50)
        roll(_person, dice.integer(2, 5), wall - side * 0.4, kerb + side * 0.3, 3, 16)
    roll(_car, dice.integer(0, 2), street.road_left + 2.8, street.road_right - 2.8, 7, 60)
    roll(_person, int(dice.chance(0.5)), street.road_left, street.road_right, 4, 14)
    roll(_bicycle, dice.integer(1, 4), street.road_left + 0.5, street.road_right + 1.5, 3, 11)
    for depth, lateral, draw in sorted(things, key=lambda thing: (-thing[0], thing[1])):
        draw(Spot(scene, lateral, depth))


def _tree(spot: Spot) -> None:
    dice = spot.scene.dice
    stem, radius = dice.uniform(1.8, 3.0), dice.uniform(1.0, 2.3)
    spot.shadow(0.5)
    spot.box(-0.13, 0.0, 0.13, stem + 0.5, dice.pick(_BARK), VEGETATION)
    _leaves(spot, stem + radius, radius, radius * dice.uniform(0.9, 1.4))


def _bush(spot: Spot) -> None:
    radius = spot.scene.dice.uniform(0.4, 0.9)
    _leaves(spot, radius * 0.8, radius * 1.6, radius)


def _leaves(spot: Spot, above: float, wide: float, tall: float) -> None:
    """An ellipse with a ragged edge, lit from above."""
    dice = spot.scene.dice
    area, radius, down = spot.disc(0.0, above, wide * 1.3, tall * 1.3)
    height, width = radius.shape
    if not radius.size:
        return
    clumps = dice.noise(height, width, max(1.5, tall * spot.scale / 3)) * np.float32(0.7)
    clumps += dice.noise(height, width, 1.5) * np.float32(0.3)
    light = np.float32(0.65) + np.float32(0.7) * clumps - np.float32(0.26) * down
    inside = radius < (np.float32(0.5) + clumps) * np.float32(0.6)
    spot.scene.canvas.paint(area, inside, dice.pick(_LEAVES) * light[..., None], VEGETATION, spot.depth)


def _pole(spot: Spot) -> None:
    """A post, sometimes with a lamp over the road or a traffic light."""
    dice = spot.scene.dice
    metal, top, half = dice.pick(_METAL), dice.uniform(3.5, 7.0), dice.uniform(0.10, 0.20)
    spot.box(-half, 0.0, half, top, metal, POLE)
    if dice.chance(0.4):
        arm = dice.uniform(0.6, 1.4)
        left, right = (0.0, arm) if spot.lateral < 0 else (-arm, 0.0)
        spot.box(left, top - 0.2, right, top, metal, POLE)
    if dice.chance(0.25):
        spot.box(-0.16, 2.4, 0.16, 3.3, (0.10, 0.10, 0.10), SIGN)
        lamp = dice.integer(0, 2)
        spot.ellipse(0.0, 3.1 - 0.25 * lamp, 0.1, 0.1, _LAMPS[lamp], SIGN)


def _sign_post(spot: Spot) -> None:
    dice = spot.scene.dice
    top, radius = dice.uniform(2.0, 2.9), dice.uniform(0.4, 0.7)
    spot.box(-0.08, 0.0, 0.08, top, dice.pick(_METAL), POLE)
    rim, face = dice.pick(_SIGNS), dice.pick(_SIGNS)
    if dice.chance(0.5):
        spot.ellipse(0.0, top, radius, radius, rim, SIGN)
        spot.ellipse(0.0, top, radius * 0.65, radius * 0.65, face, SIGN)
    else:
        wide, tall = dice.uniform(0.8, 1.8) * radius, dice.uniform(0.6, 1.3) * radius
        spot.box(-wide, top - tall, wide, top + tall, rim, SIGN)
        spot.box(-wide * 0.7, top - tall * 0.1, wide * 0.7, top + tall * 0.3, face, SIGN)


def _car(spot: Spot) -> None:
    """The flank towards the middle of the view, then the rear or front; one in eight is a van."""
    dice = spot.scene.dice
    paint, glass, half = dice.pick(_CARS), dice.pick(_GLASS[:2]), dice.uniform(0.8, 0.95)
    length, belt, roof = dice.uniform(3.6, 4.6), dice.uniform(0.85, 1.0), dice.uniform(1.38, 1.6)
    if dice.chance(0.125):
        length, belt, roof = 5.2, 1.3, 2.3
    spot.shadow(half)
    if abs(spot.lateral) > half:
        flank = spot.lateral - half if spot.lateral > 0 else spot.lateral + half
        _car_flank(spot, flank, length, belt, roof, paint * np.float32(0.8), glass)
    for wheel in (-0.62, 0.62):
        spot.box(wheel - 0.18, 0.0, wheel + 0.18, 0.35, _RUBBER, CAR)
    spot.box(-half, 0.22, half, belt, paint, CAR)
    spot.box(-0.82 * half, belt, 0.82 * half, roof, paint * np.float32(0.9), CAR)
    spot.box(-0.7 * half, belt, 0.7 * half, roof - 0.12, glass, CAR)
    if spot.scale > 5.5:  # details that would be less than a pixel are left out
        lights = _CAR_LIGHTS[dice.integer(0, 1)]
        for lamp in (-0.72, 0.72):
            spot.box(lamp - 0.1, belt - 0.3, lamp + 0.1, belt - 0.1, lights, CAR)
        spot.box(-0.25, 0.36, 0.25, 0.5, (0.8, 0.8, 0.76), CAR)


def _car_flank(spot: Spot, lateral: float, length: float, belt: float, roof: float, paint: Float, glass: Float) -> None:
    flank = plane(spot.scene, lateral, spot.depth, spot.depth + length, roof)
    if flank is None:
        return
    t, above = flank.along / np.float32(length), flank.above
    slope = above - np.float32(belt)
    cabin = (t > 0.12 + 0.1 * slope) & (t < 0.78 - 0.25 * slope)
    wheels = (above < 0.3) & (np.abs(np.abs(t - np.float32(0.5)) - np.float32(0.32)) < 0.09)
    windows = (above > belt) & (above < roof - 0.1) & (np.abs(t - np.float32(0.45)) > 0.02)
    colour = np.where(windows[..., None], glass, paint)
    colour = np.where(wheels[..., None], np.float32(0.06), colour)
    body = flank.inside & ((above < belt) | cabin) & ((above > 0.2) | wheels)
    spot.scene.canvas.paint(flank.area, body, colour, CAR, flank.depth)


def _person(spot: Spot, raised: float = 0.0) -> None:
    """Legs, coat and head; `raised` metres above the ground on a saddle."""
    dice = spot.scene.dice
    size = dice.uniform(1.5, 1.9) if dice.chance(0.85) else dice.uniform(1.0, 1.3)
    stride, trousers, coat = dice.uniform(0.04, 0.16) * size, dice.pick(_CLOTHES), dice.pick(_CLOTHES)
    spot.shadow(0.3)
    for leg in (-stride, stride):
        spot.box(leg - 0.06 * size, raised, leg + 0.06 * size, raised + 0.5 * size, trousers, PERSON)
    spot.ellipse(0.0, raised + 0.64 * size, 0.17 * size, 0.24 * size, coat, PERSON)
    spot.ellipse(0.0, raised + 0.92 * size, 0.07 * size, 0.085 * size, dice.pick(_SKIN), PERSON)


def _bicycle(spot: Spot) -> None:
    """Seen from the side or obliquely, often with a rider, who is a person."""
    dice = spot.scene.dice
    frame, squeeze = dice.pick(_CARS), dice.uniform(0.5, 1.0)
    if dice.chance(0.6):
        _person(spot, raised=0.25)
    for wheel in (-0.52, 0.52):
        _wheel(spot, wheel * squeeze, 0.34 * squeeze)
    for above, left, right in ((0.82, -0.3, 0.4), (0.55, -0.45, 0.35), (0.36, -0.5, 0.1)):
        spot.box(left * squeeze, above - 0.06, right * squeeze, above, frame, BICYCLE)


def _wheel(spot: Spot, across: float, wide: float) -> None:
    """A tyre; what is seen between the spokes is labelled with it."""
    canvas = spot.scene.canvas
    area, radius, _ = spot.disc(across, 0.34, wide, 0.34)
    seen = np.where((radius > 0.45)[..., None], np.array(_RUBBER, np.float32), canvas.image_HWC[area])
    canvas.paint(area, radius < 1, seen, BICYCLE, spot.depth)
