// A register between two AXI4-Streams of any number of bytes. `fault` 11 withdraws TVALID, 12 changes the top bit of TDATA
// before TREADY.
module slice #(
    parameter DATA = 64
) (
    input  wire              clk,
    input  wire              rst_n,
    input  wire [3:0]        fault,

    input  wire [DATA-1:0]   s_tdata,
    input  wire [DATA/8-1:0] s_tkeep,
    input  wire              s_tlast,
    input  wire              s_tvalid,
    output wire              s_tready,
    output wire [DATA-1:0]   m_tdata,
    output wire [DATA/8-1:0] m_tkeep,
    output wire              m_tlast,
    output wire              m_tvalid,
    input  wire              m_tready
);

  reg  [DATA-1:0]   data;
  reg  [DATA/8-1:0] keep;
  reg               last, full, toggle;

  assign s_tready = !full || (m_tvalid && m_tready);
  assign m_tvalid = full && !(fault == 4'd11 && toggle);
  assign m_tdata = data ^ ({{(DATA - 1) {1'b0}}, fault == 4'd12 && toggle} << (DATA - 1));
  assign m_tkeep = keep;
  assign m_tlast = last;

  always @(posedge clk) begin
    toggle <= rst_n && fault != 4'd0 && !toggle;
    if (!rst_n) full <= 1'b0;
    else if (s_tready) begin
      full <= s_tvalid;
      {last, keep, data} <= {s_tlast, s_tkeep, s_tdata};
    end
  end

endmodule
