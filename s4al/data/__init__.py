"""What a data set is: layouts, the pool, images, masks, their decoded cache, regions. Knows no run, no network."""

from s4al.data.adapters import open_dataset as open_dataset
from s4al.data.dataset import SPLITS as SPLITS
from s4al.data.dataset import Dataset as Dataset
from s4al.data.dataset import Record as Record
from s4al.data.pool import POOL_FILE as POOL_FILE
from s4al.data.pool import Pool as Pool
from s4al.data.pool import Row as Row
from s4al.data.pool import Split as Split
from s4al.data.pool import load_pool as load_pool
from s4al.data.pool import verify_sources as verify_sources
