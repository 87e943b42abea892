"""Masks: read without guessing, and what their values mean, found out or set.

What the rest of the package needs of them is named here.
"""

from s4al.data.masks.reader import IGNORE as IGNORE
from s4al.data.masks.reader import VOID as VOID
from s4al.data.masks.reader import MaskCode as MaskCode
from s4al.data.masks.reader import identity_code as identity_code
from s4al.data.masks.reader import load_mask as load_mask
from s4al.data.masks.reader import read_mask as read_mask
from s4al.data.masks.reader import read_own_mask as read_own_mask
from s4al.data.masks.reader import resize_mask as resize_mask
from s4al.data.masks.reader import write_mask as write_mask
