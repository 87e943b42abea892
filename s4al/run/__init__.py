"""What a run is: its folder, its labels, its ledger, and who answers its queries. No algorithms."""
