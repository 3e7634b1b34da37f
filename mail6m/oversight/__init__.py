"""What operators see of the whole: gathered beside the mail, and looked at in few queries."""
